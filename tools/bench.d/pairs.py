"""Ratios of what was measured in turn, A B C A B C: round by round, because a machine's speed drifts, and of
those the median. Samples are {name of the proxy: [{field: number, ...}, ...]}, one for each round."""

import statistics


def cheapest(samples, field, names):
    """Which of the names, by the median; None if none of them ran."""
    return min((name for name in names if name in samples), default=None,
               key=lambda name: statistics.median(row[field] for row in samples[name]))


def ratio(samples, field, name, one):
    """How much `name` needed of what `one` did."""
    return statistics.median(a[field] / b[field] for a, b in zip(samples[name], samples[one]))
