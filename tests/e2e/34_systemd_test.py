"""Promised: under systemd the service says when it is ready, reloads and stops, gives signs of life when it
is asked to, and takes the listening sockets of a socket unit, whose queues outlive it; the units in
configs/ are ones that systemd takes. Checked with a notification socket and listening sockets as systemd
passes them, and with systemd-analyze."""

import os
import pathlib
import re
import socket
import subprocess
import tempfile
import unittest

import harness
from harness import Proxy, group, reserve_port, service, tcp_listener, wait_until
from peers import Target, echoed, serve_echo, tcp_client

UNITS = harness.REPOSITORY / "configs/systemd"


class Manager:
    """The end of $NOTIFY_SOCKET that is systemd's."""

    def __init__(self, address):
        self.address, self.said = address, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def hear(self):
        """All that was said so far, each a dict."""
        try:
            while True:
                lines = self.socket.recv(4096).decode().splitlines()
                self.said.append(dict(line.split("=", 1) for line in lines))
        except BlockingIOError:
            return self.said

    def wait_for(self, key, count=1):
        return wait_until(lambda: f"{count} x {key}, have {self.said}",
                          lambda: len([True for said in self.hear() if key in said]) >= count)


class Notify(unittest.TestCase):
    def start(self, address, **environment):
        self.manager = Manager(address)
        self.addCleanup(self.manager.socket.close)
        self.echo = self.enterContext(Target(serve_echo))
        self.port = reserve_port()
        config = service([tcp_listener(self.port)], [group(self.echo)])
        self.proxy = self.enterContext(Proxy(config, environment={"NOTIFY_SOCKET": address, **environment}))
        return self.proxy

    def test_ready_reloading_stopping(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        for address in f"{folder}/notify", f"@tlsplice-test-{os.getpid()}":
            with self.subTest(address):
                proxy = self.start(address)
                self.manager.wait_for("READY")
                self.assertEqual(self.manager.said[0]["MAINPID"], str(proxy.process.pid))
                self.assertIn("1 listeners with 2 workers", self.manager.said[0]["STATUS"])
                self.assertEqual(proxy.reload(), "reloaded")
                self.manager.wait_for("READY", 2)
                self.assertEqual([next(iter(said)) for said in self.manager.said],
                                 ["READY", "RELOADING", "READY"])
                self.assertGreater(int(self.manager.said[1]["MONOTONIC_USEC"]), 0)
                proxy.config_file.write_text("nonsense")
                self.assertEqual(proxy.reload(), "not_reloaded")
                self.manager.wait_for("READY", 3)
                proxy.stop()
                self.manager.wait_for("STOPPING")

    def test_signs_of_life_come_twice_as_often_as_asked_for(self):
        self.start(f"@tlsplice-test-{os.getpid()}", WATCHDOG_USEC="200000")
        began = harness.time.monotonic()
        self.manager.wait_for("WATCHDOG", 11)
        self.assertGreaterEqual(harness.time.monotonic() - began, 0.9)

    def test_no_signs_of_life_where_others_are_asked(self):
        proxy = self.start(f"@tlsplice-test-{os.getpid()}", WATCHDOG_USEC="1000", WATCHDOG_PID="1")
        proxy.reload()
        self.manager.wait_for("READY", 2)
        self.assertFalse([said for said in self.manager.said if "WATCHDOG" in said])


class SocketUnit(unittest.TestCase):
    """Started as systemd starts it: with listening sockets from descriptor 3 on."""

    def run_with(self, listeners, config):
        """The service's process id is its own in LISTEN_PID, so a shell sets it."""
        for number, listener in enumerate(listeners):
            os.dup2(listener.fileno(), 100 + number)
        moves = " ".join(f"{3 + number}<&{100 + number} {100 + number}<&-"
                         for number in range(len(listeners)))
        script = f'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(listeners)} exec "$@"'
        try:
            return Proxy(config, prefix=("bash", "-c", script, "bash"),
                         pass_fds=range(100, 100 + len(listeners)))
        finally:
            for number in range(len(listeners)):
                os.close(100 + number)

    def listener(self, reuse_port):
        made = self.enterContext(socket.socket())
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
        made.bind(("127.0.0.1", reserve_port()))
        made.listen(100)
        return made

    def test_what_waits_is_served_and_the_sockets_outlive_the_service(self):
        echo = self.enterContext(Target(serve_echo))
        for reuse_port in (True, False):
            with self.subTest(reuse_port=reuse_port):
                listener = self.listener(reuse_port)
                port = listener.getsockname()[1]
                config = service([tcp_listener(port)], [group(echo)])
                for _ in range(2):
                    early = [tcp_client(port) for _ in range(8)]
                    with self.run_with([listener], config) as proxy:
                        for client in early:
                            self.assertTrue(echoed(client))
                            client.close()
                        self.assertEqual(proxy.reload(), "reloaded")
                        for _ in range(8):
                            with tcp_client(port) as client:
                                self.assertTrue(echoed(client))
                        mode = proxy.events("steering")[-1]
                    if not reuse_port:
                        self.assertEqual(mode["mode"], "kernel-hash")

    def test_a_socket_that_no_listener_names_is_said(self):
        echo = self.enterContext(Target(serve_echo))
        port = reserve_port()
        other = self.listener(True)
        datagrams = self.enterContext(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        config = service([tcp_listener(port)], [group(echo)])
        with self.run_with([other, datagrams], config) as proxy:
            said = proxy.wait_events("socket_not_used")
            self.assertEqual([line["address"] for line in said],
                             ["127.0.0.1:{}".format(other.getsockname()[1])])


class Units(unittest.TestCase):
    def test_systemd_takes_the_units(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for unit in UNITS.iterdir():
            text = unit.read_text().replace("/usr/local/sbin/tlsplice", harness.PROGRAM)
            (folder / unit.name).write_text(text)
        done = subprocess.run(["systemd-analyze", "verify", *folder.iterdir()], capture_output=True,
                              text=True, timeout=harness.PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_service_is_well_confined(self):
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", UNITS / "tlsplice.service"],
                              capture_output=True, text=True, timeout=harness.PATIENCE)
        exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)[1])
        self.assertLess(exposure, 4)


if __name__ == "__main__":
    harness.main()
