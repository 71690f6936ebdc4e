"""Promised: configs/grafana-dashboard.json asks for nothing that the service does not serve. Every expression
of it, with Grafana's variables replaced as Grafana would, is one that Prometheus understands (promtool), its
metrics are served, and so are the labels that it selects and groups by. Checked against a running service."""

import json
import re
import tempfile
import unittest

import harness
from certificates import certificates
from exposition import ask_promtool, scrape
from harness import REPOSITORY, Proxy, group, reserve_port, service, tls_listener, wait_until
from peers import Target, echoed, serve_echo, tls_client

OF_THE_SCRAPE = {"job", "instance"}  # labels that Prometheus adds
_METRIC = re.compile(r'\b((?:tlsplice|process)_\w+)(?:\{([^}]*)\})?')
_MATCHER = re.compile(r'(\w+)\s*[=!]~?')
_GROUPING = re.compile(r'\bby \(([^)]*)\)')
_LEGEND = re.compile(r'\{\{(\w+)\}\}')
_VALUES = re.compile(r'label_values\((.*), (\w+)\)')


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dashboard = json.loads((REPOSITORY / "configs/grafana-dashboard.json").read_text())
        port, metrics = reserve_port(), reserve_port()
        with Target(serve_echo) as target:
            config = service([tls_listener(port, certificates().leaf())], [group(target, health_check={})],
                             metrics={"address": f"127.0.0.1:{metrics}"})
            with Proxy(config):
                with tls_client(port) as client:
                    assert echoed(client)
                wait_until("what was negotiated",
                           lambda: "tlsplice_negotiated_count_total" in scrape(metrics).names())
                cls.served = scrape(metrics).names()

    def panels(self):
        return [panel for panel in self.dashboard["panels"] if panel["type"] != "row"]

    def expressions(self):
        """(where, expression, the labels that its legend names)"""
        for panel in self.panels():
            self.assertTrue(panel["targets"], panel["title"])
            for target in panel["targets"]:
                yield panel["title"], target["expr"], set(_LEGEND.findall(target["legendFormat"]))
        for note in self.dashboard["annotations"]["list"]:
            yield note["name"], note["expr"], set(_LEGEND.findall(note["textFormat"]))
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                expression, label = _VALUES.fullmatch(variable["query"]["query"]).groups()
                yield variable["name"], expression, {label}

    def test_every_metric_and_label_is_served(self):
        for where, expression, shown in self.expressions():
            with self.subTest(where, expression=expression):
                metrics = _METRIC.findall(expression)
                self.assertTrue(metrics)
                labels = set(OF_THE_SCRAPE)
                for name, matchers in metrics:
                    self.assertIn(name, self.served)
                    self.assertLessEqual(set(_MATCHER.findall(matchers)), self.served[name] | OF_THE_SCRAPE)
                    labels |= self.served[name]
                for grouping in _GROUPING.findall(expression):
                    labels = {label.strip() for label in grouping.split(",")}
                    self.assertLessEqual(labels, self.served[name] | OF_THE_SCRAPE)
                self.assertLessEqual(shown, labels)

    def test_every_expression_is_one(self):
        self.assertEqual(self.check(expression for _, expression, _ in self.expressions())[0], 0)
        status, said = self.check(["sum by (listener (tlsplice_active_flows)"])
        self.assertNotEqual(status, 0, said)

    @staticmethod
    def check(expressions):
        rules = [{"record": f"expression:{number}", "expr": as_grafana_asks(expression)}
                 for number, expression in enumerate(expressions)]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)  # JSON is YAML
            file.flush()
            return ask_promtool("check", "rules", file.name)

    def test_panels_are_told_apart_and_do_not_overlap(self):
        panels = self.dashboard["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        cells = set()
        for panel in panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            covered = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                       for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & covered, panel["title"])
            cells |= covered
        for panel in self.panels():
            self.assertTrue(panel["description"].endswith("."), panel["title"])

    def test_shows_most_of_what_is_served(self):
        """A metric that is new should be on it, or be named here."""
        elsewhere = {"tlsplice_client_tls_handshake_count_total",  # the histogram's count
                     "tlsplice_worker_handshake_count_total", "tlsplice_worker_picked_count_total",
                     "tlsplice_worker_migrated_count_total", "tlsplice_worker_draining",
                     "tlsplice_worker_shut", "tlsplice_steering_migrated_unsteered_count_total",
                     "tlsplice_key_update_received_count_total", "tlsplice_key_update_sent_count_total",
                     "tlsplice_key_limit_error_count_total", "tlsplice_ktls_required_error_count_total",
                     "tlsplice_proxy_header_error_count_total"}
        shown = {name for _, expression, _ in self.expressions() for name, _ in _METRIC.findall(expression)}
        rest = {name for name in self.served if not name.endswith(("_bucket", "_sum", "_seconds_count"))}
        self.assertEqual(rest - shown, elsewhere)


def as_grafana_asks(expression):
    expression = expression.replace("$__rate_interval", "4m")
    expression = re.sub(r"\$(?:job|instance|listener|target_group)\b", ".*", expression)
    assert "$" not in expression, expression
    return expression


if __name__ == "__main__":
    harness.main()
