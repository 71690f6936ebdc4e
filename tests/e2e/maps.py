"""The maps of a service as plain bpftool prints them and as cat does: what tests of the numbers stand on."""

import collections
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import harness
from certificates import certificates
from harness import Proxy, needs_root, reserve_port, service, tcp_listener, tls_listener, wait_until


def bpftool(*arguments):
    environment = {**os.environ, "PATH": os.defpath + ":/usr/sbin"}
    return subprocess.run(["bpftool", *map(str, arguments)], capture_output=True, text=True, check=True,
                          timeout=harness.PATIENCE, env=environment).stdout


def read_table(file):
    """The rows of a table as dicts of its heading's words."""
    lines = file.read_text().splitlines()
    heading = lines[0].split()
    return [dict(zip(heading, line.split(), strict=True)) for line in lines[1:]]


@needs_root
class Numbers(unittest.TestCase):
    def setUp(self):
        self.mounted = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        done = subprocess.run(["mount", "-t", "bpf", "bpf", self.mounted], capture_output=True, text=True)
        if done.returncode:
            self.skipTest(f"no bpffs here: {done.stderr}")
        self.addCleanup(subprocess.run, ["umount", self.mounted], check=True)
        self.folder = self.mounted / "tlsplice"

    def plain_and_web(self):
        """A TCP and a TLS listener, with an empty book for what the clients of each see."""
        self.ports = {"plain": reserve_port(), "web": reserve_port()}
        self.books = collections.defaultdict(collections.Counter)
        return [tcp_listener(self.ports["plain"]), tls_listener(self.ports["web"], certificates().leaf())]

    def start(self, listeners, groups, **top):
        config = service(listeners, groups, bpf_directory=self.folder, **top)
        proxy = self.enterContext(Proxy(config))
        if proxy.events("steering")[0]["mode"] == "kernel-hash":
            self.skipTest(proxy.events("steering")[0]["why"])
        return proxy

    def rows(self, name):
        """A map as plain `bpftool map dump pinned` prints it: the values in the order of the keys."""
        dumped = json.loads(bpftool("map", "dump", "pinned", self.folder / name))
        self.assertEqual([row["key"] for row in dumped], list(range(len(dumped))))
        return [row["value"] for row in dumped]

    def sums(self, name, **which):
        """The sum of every counter over the rows (one a worker) that have these names."""
        total = collections.Counter()
        for row in self.rows(name):
            if which.items() <= row.items():
                total.update({key: value for key, value in row.items() if isinstance(value, int)})
        total.pop("worker", None)
        return total

    def wait_sums(self, name, expected, **which):
        def story():
            return f"{name} {which}: expected {expected}, have {self.sums(name, **which)}"
        wait_until(story, lambda: expected.items() <= self.sums(name, **which).items(), every=0.1)
