#!/usr/bin/env python3
"""Promised of tools/bench: it runs single cases by name, prints a table, writes all numbers as JSON, leaves
no process behind, and says what is wrong with its arguments. Checked with tlsplice alone and few rounds, so
that nothing is downloaded."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 200
sys.path.insert(0, str(ROOT / "tools/bench.d"))
import cases  # noqa: E402
import pairs  # noqa: E402


def bench(*arguments):
    return subprocess.run([ROOT / "tools/bench", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=SECONDS, check=False)


def children_of_anyone(marks):
    """Processes whose environment carries the mark of this test."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if marks in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                found.append(entry.name)
        except OSError:  # gone, or not ours to see
            continue
    return found


class BenchTest(unittest.TestCase):
    def run_case(self, *arguments):
        with tempfile.TemporaryDirectory(prefix="tlsplice-bench-test-") as folder:
            file = pathlib.Path(folder) / "results.json"
            done = bench(*arguments, "--proxies", "tlsplice", "--json", str(file))
            self.assertEqual(done.returncode, 0, done.stderr)
            picture = file.with_suffix(".svg")
            self.picture = ElementTree.parse(picture).getroot() if picture.exists() else None
            return done.stdout, json.loads(file.read_text())

    def test_idle_flows(self):
        table, results = self.run_case("idle", "--flows", "300")
        self.assertRegex(table, r"(?m)^tlsplice +300 +\d+\.\d\d")
        row = results["idle"][0]
        self.assertEqual((row["proxy"], row["flows"]), ("tlsplice", 300))
        self.assertTrue(0 < row["bytes_per_flow"] < 100_000, row)
        self.assertEqual([row["proxy"] for row in results["idle"]], ["tlsplice", "floor"])

    def test_processor_time(self):
        os.environ["TLSPLICE_BENCH_TEST"] = mark = f"mark-{os.getpid()}"
        table, results = self.run_case("handshakes-p256", "tcp", "--rounds", "2")
        for name in "handshakes-p256", "tcp":
            row = results[name]["proxies"]["tlsplice"]
            self.assertIn(f"{name}: ", table)
            self.assertEqual(len(row["samples"]), 2)
            self.assertTrue(0 < row["cpu_min"] <= row["cpu_median"] <= row["cpu_max"] < 60, row)
        self.assertTrue(0 < results["handshakes-p256"]["floor"] < 60)
        words = [part.text for part in self.picture.iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(words.count("1.00"), 2, words)
        self.assertEqual(children_of_anyone(mark.encode()), [])

    def test_what_flows_cost_each_other(self):
        table, results = self.run_case("beside-bursts", "--rounds", "1")
        row = results["beside-bursts"]["tlsplice"]
        self.assertTrue(0 < row["p50_us"] <= row["p99_us"], row)
        self.assertGreater(row["handshakes_per_second"], 20)
        self.assertIn("beside-bursts: ", table)
        self.assertRegex(table, r"(?m)^ +floor +p50")
        self.assertTrue(0 < results["beside-bursts"]["floor"]["p99_us"])

    def test_ratios_are_those_of_pairs(self):
        samples = {name: [{"cpu": cpu} for cpu in costs] for name, costs in {
            "tlsplice": (1, 6, 3), "haproxy": (2, 4, 6), "nginx": (3, 7, 7)}.items()}
        one = pairs.cheapest(samples, "cpu", ["haproxy", "nginx", "not there"])
        self.assertEqual((one, pairs.ratio(samples, "cpu", "tlsplice", one)), ("haproxy", 0.5))
        self.assertIsNone(pairs.cheapest(samples, "cpu", []))

    def test_floors_have_the_part_of_openssl(self):
        floor = {name: cases.floor_of_openssl(case) for name, case in cases.ALL.items()}
        self.assertIsNone(floor["tcp"])
        self.assertAlmostEqual(floor["tls-tls"] / floor["down"], 2, delta=1)
        self.assertLess(floor["messages-64"], floor["messages-16384"])
        self.assertLess(floor["handshakes-p256"], floor["handshakes-rsa"])

    def test_arguments(self):
        for arguments, text in ((["--help"], "tls-tls"), (["no-such-case"], "invalid choice"),
                                (["down", "--proxies", "squid"], "no proxy squid"), ([], "CASE")):
            done = bench(*arguments)
            self.assertEqual(done.returncode, 0 if arguments == ["--help"] else 2)
            self.assertIn(text, done.stdout + done.stderr)


if __name__ == "__main__":
    if not (ROOT / "build/release/tlsplice-load").exists():
        sys.exit("build/release/tlsplice-load is not there; run: cmake --build --preset release")
    unittest.main(verbosity=2)
