#!/usr/bin/env python3
"""What people run works as its help says: tools/setup is silent when there is nothing to do, the demo target
answers, tools/run serves until Ctrl-C and leaves nothing behind, says which port is taken, and --smoke ends
with 0. Uses the ports of configs/quickstart.toml, so no two of these run at once. The program is expected to
be built (build/release)."""

import contextlib
import hashlib
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
LISTENER_PORT = 8443
TARGET_PORT = 8080
READY = b"Ctrl-C ends everything."
DEADLINE_SECONDS = 60
BUILD_SECONDS = 900  # should tools/run find something to build


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tool(name, *arguments):
    return subprocess.run([TOOLS / name, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECONDS, check=False)


class Terminal:
    """A command in a terminal of its own, as a person has it: Ctrl-C goes to the whole foreground group."""

    def __init__(self, *command):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir("/")
            os.execv(command[0], command)

    def read_until(self, marker):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while marker not in self.output:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGTERM)
                raise TimeoutError(self.output.decode(errors="replace"))
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.output += os.read(self.fd, 65536)
                except OSError:  # EIO: the last process on the terminal has gone
                    return False
        return True

    def press_control_c(self):
        os.write(self.fd, b"\x03")

    def status(self):
        """Reads until the last process has left the terminal, then gives the exit status."""
        self.read_until(b"\0")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def child_named(pid, program):
    """The child of that process that runs the program, by the name of the executable or of the script."""
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = pathlib.Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if program in (pathlib.PurePath(word).name for word in words[:2]):
            return int(child)
    raise LookupError(f"no child runs {program}")


class SetupTest(unittest.TestCase):
    def test_silent_and_fast_when_nothing_is_missing(self):
        self.assertEqual(tool("setup").returncode, 0)
        started = time.monotonic()
        again = tool("setup")
        self.assertEqual((again.returncode, again.stdout), (0, ""))
        self.assertLess(time.monotonic() - started, 5)

    def test_unknown_arguments_are_usage_errors(self):
        for name in ("setup", "run", "tidy"):
            with self.subTest(name):
                refused = tool(name, "--no-such-option")
                self.assertEqual(refused.returncode, 2)
                self.assertIn("--no-such-option", refused.stdout)

    def test_every_tool_has_a_help(self):
        for name in ("setup", "test", "run", "tidy", "demo-target"):
            with self.subTest(name):
                shown = tool(name, "--help")
                self.assertEqual(shown.returncode, 0)
                self.assertIn(name, shown.stdout)


class DemoTargetTest(unittest.TestCase):
    def setUp(self):
        self.process = subprocess.Popen([TOOLS / "demo-target", "--quiet", "--address", "127.0.0.1:0"],
                                        stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        self.base = f"http://127.0.0.1:{int(self.process.stdout.readline().split()[-1])}"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, path, body=None):
        with self.opener.open(self.base + path, data=body, timeout=20) as answer:
            return answer.read()

    def test_page_says_what_it_is_and_what_it_saw(self):
        page = self.ask("/some/path").decode()
        for part in ("demo target of tlsplice", "peer: 127.0.0.1 port", "path: /some/path", "Host: 127."):
            self.assertIn(part, page)

    def test_echo_gives_the_body_back(self):
        body = bytes(range(256)) * 4096
        self.assertEqual(self.ask("/echo", body), body)

    def test_bytes_are_as_many_as_asked_and_always_the_same(self):
        first, second = self.ask("/bytes/1000001"), self.ask("/bytes/1000001")
        self.assertEqual(len(first), 1000001)
        self.assertEqual(hashlib.sha256(first).digest(), hashlib.sha256(second).digest())
        self.assertEqual(self.ask("/bytes/0"), b"")

    def test_bad_requests_get_an_answer(self):
        for path, body, status in (("/bytes/-1", None, 400), ("/bytes/x", None, 400), ("/other", b"x", 404)):
            with self.subTest(path), self.assertRaises(urllib.error.HTTPError) as caught:
                self.ask(path, body)
            self.assertEqual(caught.exception.code, status)
            caught.exception.close()

    def test_signals_end_it_with_status_0(self):
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(timeout=10), 0)


class RunTest(unittest.TestCase):
    def setUp(self):
        for port in (LISTENER_PORT, TARGET_PORT):
            self.assertFalse(listens(port), f"port {port} is taken by somebody else: this test needs it")

    def assert_nothing_left(self):
        for port in (LISTENER_PORT, TARGET_PORT):
            self.assertFalse(listens(port), f"something still listens on port {port}")

    def start(self):
        terminal = Terminal(str(TOOLS / "run"))
        self.addCleanup(os.close, terminal.fd)
        self.assertTrue(terminal.read_until(READY), terminal.output.decode(errors="replace"))
        return terminal

    def test_smoke(self):
        run = tool("run", "--smoke")
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("it works", run.stdout)
        self.assert_nothing_left()

    def test_serves_until_control_c(self):
        terminal = self.start()
        lines = terminal.output.decode().splitlines()
        curl = next(line.split() for line in lines if line.strip().startswith("curl "))
        curl += ["--silent", "--noproxy", "*"]
        answer = subprocess.run(curl, cwd="/", capture_output=True, text=True, check=False)
        self.assertIn("demo target of tlsplice", answer.stdout, answer.stderr)
        terminal.press_control_c()
        self.assertEqual(terminal.status(), 0, terminal.output.decode())
        self.assert_nothing_left()

    def test_control_c_does_not_wait_for_open_connections(self):
        terminal = self.start()
        with socket.create_connection(("127.0.0.1", LISTENER_PORT)), contextlib.suppress(OSError):
            terminal.press_control_c()
            started = time.monotonic()
            self.assertEqual(terminal.status(), 0, terminal.output.decode())
            self.assertLess(time.monotonic() - started, 4)
        self.assertNotIn(b"was killed", terminal.output)
        self.assert_nothing_left()

    def test_sigterm_stops_everything(self):
        terminal = self.start()
        os.kill(terminal.pid, signal.SIGTERM)
        self.assertEqual(terminal.status(), 0, terminal.output.decode())
        self.assert_nothing_left()

    def test_says_when_one_of_the_two_ends_by_itself(self):
        ends = {"demo-target": b"the demo target has ended", "tlsplice": b"tlsplice has ended"}
        for name, sentence in ends.items():
            with self.subTest(name):
                terminal = self.start()
                os.kill(child_named(terminal.pid, name), signal.SIGKILL)
                self.assertNotEqual(terminal.status(), 0)
                self.assertIn(sentence, terminal.output)
                self.assert_nothing_left()

    def test_a_taken_port_is_named(self):
        for port in (LISTENER_PORT, TARGET_PORT):
            with self.subTest(port), socket.create_server(("127.0.0.1", port)):
                run = tool("run", "--smoke")
                self.assertEqual(run.returncode, 1, run.stdout)
                self.assertIn(f"port {port} of 127.0.0.1", run.stdout)
                self.assertIn("configs/quickstart.toml", run.stdout)


if __name__ == "__main__":
    if not (ROOT / "build/release/tlsplice").exists():
        sys.exit("build/release/tlsplice is not there; run: tools/run --smoke")
    unittest.main(verbosity=2)
