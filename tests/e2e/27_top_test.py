"""Promised: `tlsplice top` shows listeners, targets and workers live in a terminal, anew each second, in
eighty columns and scrolled where they are too many; it outlives a restart of the service and leaves the
terminal as it was. With --batch it prints the same as lines. Driven in a terminal by tmux; the numbers are
the clients'."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, run_program, service, tcp_listener, tls_listener, wait_until
from peers import Target, echoed, serve_echo, tcp_client, tls_client


def tables(lines):
    """{first heading: [row as a dict]} of tables with an empty line between them."""
    found = {}
    for block in "\n".join(lines).split("\n\n"):
        heading, *rows = [line.split() for line in block.splitlines()]
        found[heading[0]] = [dict(zip(heading, row, strict=True)) for row in rows]
    return found


class Terminal:
    """A tmux server of its own with one command in it; ended by its own socket."""

    def __init__(self, command, columns=100, rows=30):
        self.folder = tempfile.TemporaryDirectory(prefix="tlsplice-top-")
        self.socket = pathlib.Path(self.folder.name) / "tmux"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), command)

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", str(self.socket), *arguments], capture_output=True, text=True,
                              timeout=harness.PATIENCE, env={**os.environ, "TERM": "xterm", "LC_ALL": "C"},
                              check=True).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p").splitlines()

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def wait_screen(self, what, condition):
        """The screen's lines once they are so."""
        def shown():
            lines = self.screen()
            return lines if lines and condition(lines) else None
        return wait_until(lambda: f"{what}:\n" + "\n".join(self.screen()), shown, every=0.1)

    def ended(self):
        return not self.socket.exists() or subprocess.run(
            ["tmux", "-S", str(self.socket), "ls"], capture_output=True, check=False).returncode != 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True, check=False)
        self.folder.cleanup()


class Top(unittest.TestCase):
    def setUp(self):
        self.ports = {"web": reserve_port(), "plain": reserve_port()}
        self.target = self.enterContext(Target(serve_echo))
        listeners = [tls_listener(self.ports["web"], certificates().leaf()),
                     tcp_listener(self.ports["plain"])]
        self.config = service(listeners, [group(self.target)])

    def flows(self, proxy):
        """Three flows through `plain`, two through `web`, each of which says 1000 bytes and hears them."""
        clients = [self.enterContext(tcp_client(self.ports["plain"])) for _ in range(3)]
        clients += [self.enterContext(tls_client(self.ports["web"])) for _ in range(2)]
        self.assertTrue(all(echoed(client, bytes(1000)) for client in clients))
        proxy.wait_counters(ActiveFlowCount=5)
        return clients

    def check(self, shown, proxy):
        listeners = {row["LISTENER"]: row for row in shown["LISTENER"]}
        self.assertEqual({name: (row["PROTO"], row["ACTIVE"]) for name, row in listeners.items()},
                         {"web": ("TLS", "2"), "plain": ("TCP", "3")})
        [target] = shown["TARGET_GROUP"]
        self.assertEqual((target["TARGET_GROUP"], target["TARGET"], target["ACTIVE"]),
                         ("app", self.target.address, "5"))
        workers = proxy.workers()
        self.assertEqual({int(row["WORKER"]): int(row["PID"]) for row in shown["WORKER"]}, workers)
        self.assertEqual({row["STATE"] for row in shown["WORKER"]}, {"serving"})
        self.assertEqual(sum(int(row["ACTIVE"]) for row in shown["WORKER"]), 5)

    def test_batch_prints_lines_with_the_rates_of_the_time_between(self):
        with Proxy(self.config) as proxy:
            clients = self.flows(proxy)
            command = [harness.PROGRAM, "top", "-c", str(proxy.config_file), "--batch", "--count", "2",
                       "--interval", "4"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as printed:
                time.sleep(1)
                for _ in range(8):
                    self.assertTrue(echoed(clients[0], bytes(1000)))
                first, second = printed.stdout.read().rstrip().split("\n\ntlsplice")
            self.assertEqual(printed.returncode, 0)
            summary, _, rest = first.partition("\n")
            self.assertTrue(summary.startswith("tlsplice  5 flows  0 new/s"), summary)
            shown = tables(rest.splitlines())
            self.check(shown, proxy)
            rates = {row["LISTENER"]: (row["IN_B/S"], row["OUT_B/S"]) for row in shown["LISTENER"]}
            self.assertEqual(rates["web"], ("0", "0"))
            for rate in rates["plain"]:  # 8000 bytes in about 4 s
                self.assertEqual(rate[-1], "K", rate)
                self.assertTrue(1 < float(rate[:-1]) < 2.1, rate)
            idle = tables(second.partition("\n")[2].splitlines())
            self.assertEqual([row["IN_B/S"] for row in idle["LISTENER"]], ["0", "0"])
            for client in clients:
                client.close()

    def test_lives_in_a_terminal_of_eighty_columns(self):
        with Proxy(self.config) as proxy:
            clients = self.flows(proxy)
            with Terminal(f"{harness.PROGRAM} top -c {proxy.config_file}", columns=80) as terminal:
                lines = terminal.wait_screen("five", lambda lines: lines[0].startswith("tlsplice  5 flows"))
                self.assertIn("q quit", lines[-1])
                self.check(tables(line for line in "\n".join(lines[1:-1]).strip().splitlines()), proxy)
                clients.pop().close()
                terminal.wait_screen("one fewer", lambda lines: lines[0].startswith("tlsplice  4 flows"))
                terminal.press("p")
                terminal.wait_screen("paused", lambda lines: "PAUSED" in lines[-1])
                clients.pop().close()
                proxy.wait_counters(ActiveFlowCount=3)
                time.sleep(1.5)
                self.assertTrue(terminal.screen()[0].startswith("tlsplice  4 flows"))
                terminal.press("p")
                terminal.wait_screen("going on", lambda lines: lines[0].startswith("tlsplice  3 flows"))
                terminal.press("q")
                wait_until("its end", terminal.ended)
            for client in clients:
                client.close()

    def test_scrolls_what_does_not_fit(self):
        with Proxy(self.config) as proxy, \
                Terminal(f"{harness.PROGRAM} top -c {proxy.config_file}", rows=6) as terminal:
            lines = terminal.wait_screen("the top", lambda lines: lines[1].startswith("LISTENER"))
            self.assertFalse(any(line.startswith("WORKER") for line in lines))
            terminal.press("NPage")
            terminal.press("NPage")
            terminal.press("NPage")  # further than there is something
            lines = terminal.wait_screen("the bottom", lambda lines: lines[4].startswith("1 "))
            self.assertTrue(lines[2].startswith("WORKER"), lines)
            terminal.press("Up")
            terminal.wait_screen("a line up", lambda lines: lines[3].startswith("WORKER"))
            terminal.press("Home")
            terminal.wait_screen("the top", lambda lines: lines[1].startswith("LISTENER"))
            terminal.tmux("resize-window", "-x", "100", "-y", "30")
            terminal.wait_screen("all of it", lambda lines: any(line.startswith("1 ") for line in lines))

    def test_outlives_a_restart_of_the_service(self):
        with tempfile.TemporaryDirectory() as folder:
            config = {**self.config, "admin": {"socket": f"{folder}/admin.sock"}}
            with Proxy(config) as first:
                terminal = self.enterContext(
                    Terminal(f"{harness.PROGRAM} top --socket {folder}/admin.sock", columns=160))
                terminal.wait_screen("the service", lambda lines: lines[0].startswith("tlsplice  0 flows"))
                first.stop()
            terminal.wait_screen("its end", lambda lines: "no service answers" in lines[0])
            with Proxy(config):
                terminal.wait_screen("the next", lambda lines: lines[0].startswith("tlsplice  0 flows"))

    def test_leaves_the_terminal_as_it_was(self):
        with Proxy(self.config) as proxy:
            for number in None, signal.SIGTERM, signal.SIGINT:
                top = f"{harness.PROGRAM} top -c {proxy.config_file}"
                shell = f"{top} & echo $! > {proxy.folder}/pid; fg" if number else top
                command = f"bash -c 'set -m; {shell}; stty -a > {proxy.folder}/stty; sleep 60'"
                with Terminal(command) as terminal:
                    terminal.wait_screen("it", lambda lines: lines[0].startswith("tlsplice  0 flows"))
                    if number:
                        os.kill(int((proxy.folder / "pid").read_text()), number)
                    else:
                        terminal.press("q")
                    state = proxy.folder / "stty"
                    modes = wait_until("stty", lambda: state.exists() and state.read_text()).split()
                    self.assertTrue({"icanon", "echo"} <= set(modes), (number, modes))
                    state.unlink()
            (proxy.folder / "pid").unlink()

    def test_says_what_it_needs(self):
        done = run_program("top", "--socket", "/nowhere/admin.sock")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no service answers on /nowhere/admin.sock", done.stderr)
        with Proxy(self.config) as proxy:
            done = run_program("top", "-c", proxy.config_file)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--batch", done.stderr)
        for wrong in (("--interval", "0"), ("--count", "3"), ("--interval", "x")):
            self.assertEqual(run_program("top", *wrong).returncode, 2, wrong)


if __name__ == "__main__":
    harness.main()
