"""Promised: the library that health checks speak HTTP with is in the monitor process alone, and there only
when a check wants it; where it is missing the log says what to install, and the flows go on."""

import pathlib
import tempfile
import unittest

import harness
from harness import Proxy, group, needs_root, reserve_port, service, tcp_listener
from health_targets import TIMES, HttpTarget, ask, http_check


def has_library(pid):
    return "/libcurl" in pathlib.Path(f"/proc/{pid}/maps").read_text()


class HttpLibrary(unittest.TestCase):
    def setUp(self):
        self.target = self.enterContext(HttpTarget("app"))

    def start(self, check, **environment):
        self.port = reserve_port()
        config = service([tcp_listener(self.port)], [group(self.target, health_check=check)])
        return self.enterContext(Proxy(config, environment=environment))

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

    def test_where_it_is_missing_the_log_says_so(self):
        with tempfile.TemporaryDirectory(prefix="tlsplice-e2e-") as folder:
            folder = pathlib.Path(folder)
            folder.chmod(0o755)
            (folder / "libcurl.so.4").write_text("no library")
            proxy = self.start(http_check(), LD_LIBRARY_PATH=str(folder))
            line = proxy.wait_events("monitor_failed")[0]
            for word in f"{folder}/libcurl.so.4", "install the package libcurl4":
                self.assertIn(word, line["error"])
            self.assertEqual(ask(self.port), "app")


if __name__ == "__main__":
    harness.main()
