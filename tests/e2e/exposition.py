"""What the tests of the metrics read them with: a GET without a proxy in between, the samples of the text
format, and promtool."""

import http.client
import os
import re
import shutil
import subprocess

import harness

_SAMPLE = re.compile(r'(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def promtool():
    path = shutil.which("promtool") or harness.REPOSITORY / "build/tools/promtool"
    if not os.access(path, os.X_OK):
        raise AssertionError("no promtool in the PATH or in build/tools: run tools/setup")
    return path


def ask_promtool(*arguments, text=None):
    """(exit status, everything it said)"""
    done = subprocess.run([promtool(), *map(str, arguments)], input=text, text=True, timeout=harness.PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def request(port, path="/metrics", method="GET", timeout=harness.PATIENCE, **headers):
    """The response, its text read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        response.text = response.read().decode()
        return response
    finally:
        connection.close()


class Samples:
    """The samples of one page, by name and labels."""

    def __init__(self, text):
        self.text, self.values, self.types = text, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                self.types[name] = kind
            elif not line.startswith("#"):
                found = _SAMPLE.fullmatch(line)
                assert found, f"no sample: {line!r}"
                key = found["name"], frozenset(_LABEL.findall(found["labels"] or ""))
                assert key not in self.values, f"twice: {line!r}"
                self.values[key] = float(found["value"])

    def sum(self, name, **labels):
        """Over the samples that have these labels; there must be one."""
        found = [value for (each, has), value in self.values.items()
                 if each == name and set(labels.items()) <= has]
        assert found, f"no sample {name} {labels}"
        return sum(found)

    def names(self):
        """{name of a sample: the names of its labels}"""
        return {name: {label for label, _ in labels} for name, labels in self.values}

    def histograms(self):
        """[(name, labels, {bound: count})]"""
        found = {}
        for (name, labels), value in self.values.items():
            if name.endswith("_bucket"):
                bound = dict(labels)["le"]
                of = name.removesuffix("_bucket"), labels - {("le", bound)}
                found.setdefault(of, {})[float(bound)] = value
        return [(name, labels, buckets) for (name, labels), buckets in found.items()]


def scrape(port, **options):
    response = request(port, **options)
    assert response.status == 200, response.status
    return Samples(response.text)
