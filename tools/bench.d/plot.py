"""The results as a picture: for each case a bar for each proxy, its processor time as a ratio to that of the
better of HAProxy and nginx, or to the first proxy where neither ran."""

from xml.sax.saxutils import escape

import pairs
import proxies

WIDTH, LEFT, BAR, GAP, HEADER = 760, 150, 14, 14, 34
SCALE = 340  # pixels of a ratio of 1
COLORS = ("#1b6ca8", "#b5651d", "#6a8d3f", "#7d5ba6", "#888888", "#c05a7a")


def _ratios(result):
    samples = {name: row["samples"] for name, row in result["proxies"].items()}
    one = pairs.cheapest(samples, "cpu", proxies.PEERS) or next(iter(samples))
    if not all(row["cpu"] > 0 for row in samples[one]):
        return {}
    return {name: pairs.ratio(samples, "cpu", name, one) for name in samples}


def _text(x, y, text, more=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(text)}</text>'


def svg(results):
    """The whole file; None when there is no case with processor times."""
    rows = {name: _ratios(result) for name, result in results.items()
            if isinstance(result, dict) and "unit" in result}
    names = list(dict.fromkeys(name for ratios in rows.values() for name in ratios))
    if not names:
        return None
    color = {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}
    parts, y = [], HEADER
    for place, name in enumerate(names):
        x = LEFT + place * 120
        parts.append(f'<rect x="{x}" y="10" width="10" height="10" fill="{color[name]}"/>')
        parts.append(_text(x + 14, 19, name))
    for case, ratios in rows.items():
        parts.append(_text(LEFT - 8, y + BAR, case, 'text-anchor="end" font-weight="bold"'))
        for name, ratio in ratios.items():
            parts += [f'<rect x="{LEFT}" y="{y}" width="{ratio * SCALE:.1f}" height="{BAR - 2}" '
                      f'fill="{color[name]}"/>', _text(LEFT + ratio * SCALE + 5, y + BAR - 4, f"{ratio:.2f}")]
            y += BAR
        y += GAP
    line = LEFT + SCALE
    parts.append(f'<line x1="{line}" y1="{HEADER - 6}" x2="{line}" y2="{y - GAP}" stroke="#444" '
                 'stroke-dasharray="3 3"/>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 22}" '
            'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>' +
            "".join(parts) +
            _text(LEFT, y + 10, "processor time, 1: the better of the others") + "</svg>\n")
