"""Promised: the library that health checks speak HTTP with is in the monitor process alone, and there only
when a check wants it; where it is missing, a configuration that wants it is refused with what to install."""

import os
import pathlib
import tempfile
import unittest

import harness
from harness import Proxy, group, needs_root, reserve_port, run_program, service, tcp_listener, toml
from health_targets import TIMES, HttpTarget, ask, http_check


def has_library(pid):
    return "/libcurl" in pathlib.Path(f"/proc/{pid}/maps").read_text()


class HttpLibrary(unittest.TestCase):
    def setUp(self):
        self.target = self.enterContext(HttpTarget("app"))

    def start(self, check):
        self.port = reserve_port()
        config = service([tcp_listener(self.port)], [group(self.target, health_check=check)])
        return self.enterContext(Proxy(config))

    @needs_root
    def test_only_the_monitor_has_it_and_only_for_http(self):
        for check in http_check(), TIMES:
            with self.subTest(check):
                proxy = self.start(check)
                proxy.wait_events("target_health", state="healthy")
                self.assertEqual(has_library(proxy.monitor()), check is not TIMES)
                self.assertEqual(ask(self.port), "app")
                for pid in proxy.process.pid, *proxy.workers().values():
                    self.assertFalse(has_library(pid))

    def test_where_it_is_missing_nothing_starts(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="tlsplice-e2e-")))
        (folder / "libcurl.so.4").write_text("no library")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
        file = folder / "tlsplice.toml"
        file.write_text(toml(service([tcp_listener(reserve_port())],
                                     [group(self.target, health_check=http_check())])))
        for verb in "check", "run":
            with self.subTest(verb):
                done = run_program(verb, "-c", file, env=environment)
                self.assertEqual(done.returncode, 1, done.stdout)
                for words in (f"{file}:", "target_group.health_check.protocol", f"{folder}/libcurl.so.4",
                              "install the package libcurl4"):
                    self.assertIn(words, done.stderr)


if __name__ == "__main__":
    harness.main()
