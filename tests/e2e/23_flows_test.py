"""Promised: `tlsplice flows` shows every live flow: who, where to, what was negotiated, how its bytes move,
and beside it what the kernel says of both sockets, the same as `ss -tie`. Ten thousand print in under a
second. A worker that does not answer is named, and nobody who talks to the admin socket holds the service
up."""

import concurrent.futures
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import unittest

import harness
from certificates import certificates
from harness import (KERNEL_TLS, Proxy, group, needs_root, reserve_port, run_program, scaled, service,
                     tcp_listener, tls_listener, wait_until)
from peers import Target, client_context, echoed, serve_echo, tcp_client, tls_client

TLS13 = "ELBSecurityPolicy-TLS13-1-2-2021-06"
MANY = scaled(10_000, 1000)
KERNEL_CIPHERS = {"aes-gcm-128": "AES-128-GCM", "aes-gcm-256": "AES-256-GCM"}


def flows(proxy, *arguments, status=0):
    done = run_program("flows", "-c", proxy.config_file, "--json", *arguments)
    assert done.returncode == status, f"status {done.returncode}: {done.stderr}"
    return json.loads(done.stdout)["flows"]


def ss_by_cookie():
    """{cookie: what ss says of it}, from lines such as `ESTAB 0 0 127.0.0.1:80 127.0.0.1:5000 ino:1 sk:1f
    cubic rtt:0.03/0.01 ... tcp-ulp-tls version: 1.3 cipher: aes-gcm-128 rxconf: sw txconf: sw`."""
    out = subprocess.run(["ss", "-tieHnO"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in out.splitlines():
        def word(pattern, line=line):
            match = re.search(pattern, line)
            return match and match[1]
        cookie = word(r"\bsk:([0-9a-f]+)")
        found[int(cookie, 16)] = {
            "queues": tuple(map(int, line.split()[1:3])), "peer": line.split()[4],
            "rtt": word(r"\brtt:([\d.]+)"), "retransmits": int(word(r"\bretrans:\d+/(\d+)") or 0),
            "version": word(r"tcp-ulp-tls version: (\S+)"), "cipher": word(r"tcp-ulp-tls .*?cipher: (\S+)"),
            "rx": word(r"rxconf: (\S+)"), "tx": word(r"txconf: (\S+)")}
    return found


def admin(proxy):
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(proxy.folder / "admin.sock"))  # waits for room in the queue
    client.settimeout(harness.PATIENCE)
    return client


def answer(client, request):
    client.sendall(request)
    told = b""
    while block := client.recv(65536):
        told += block
    return json.loads(told)


class Flows(unittest.TestCase):
    def start(self, listeners, groups, **top):
        return self.enterContext(Proxy(service(listeners, groups, **top)))

    def test_shows_what_is_known_of_a_flow(self):
        port, plain = reserve_port(), reserve_port()
        target = self.enterContext(Target(serve_echo))
        listeners = [tls_listener(port, certificates().leaf(), ssl_policy=TLS13, ktls="off"),
                     tcp_listener(plain, relay="copy")]
        proxy = self.start(listeners, [group(target)])
        self.assertEqual(flows(proxy), [])
        with tls_client(port) as client, tcp_client(plain) as other:
            self.assertTrue(echoed(client, bytes(700)))
            [flow] = wait_until("the flow", lambda: flows(proxy, "--listener", "web"))
            address, cookie = client.getsockname(), flow["client_socket"].pop("cookie")
            self.assertEqual(flow["client"], f"127.0.0.1:{address[1]}")
            expected = {"listener": "web", "target": target.address, "state": "relaying",
                        "protocol": "TLSv1.3", "received_bytes": 700, "sent_bytes": 700,
                        "server_name": "localhost",
                        "cipher": client.cipher()[0],
                        "relay": {"mode": "auto", "from_client": "copy", "to_client": "copy"}}
            self.assertEqual(expected, {key: flow[key] for key in expected})
            self.assertEqual(flow["client_socket"]["ktls"], "off")
            self.assertLess(flow["age_ms"], harness.PATIENCE * 1000)
            self.assertEqual(ss_by_cookie()[cookie]["peer"], flow["client"])
            [tcp] = wait_until("the other", lambda: flows(proxy, "--listener", "plain"))
            self.assertEqual((tcp["protocol"], tcp["server_name"], tcp["relay"]["mode"]), ("-", None, "copy"))
            self.assertEqual(tcp["relay"]["from_client"], None)
            port_of_other = other.getsockname()[1]
            for peer, count in ((f"127.0.0.1:{port_of_other}", 1), ("127.0.0.1", 2), (target.address, 2),
                                ("127.0.0.2", 0), (f"127.0.0.1:{port}", 0)):
                self.assertEqual(len(flows(proxy, "--peer", peer)), count, peer)
            table = run_program("flows", "-c", proxy.config_file).stdout.splitlines()
            self.assertEqual(len(table), 3)
            rows = [dict(zip(table[0].split(), line.split(), strict=True)) for line in table[1:]]
            [row] = [row for row in rows if row["CLIENT"] == flow["client"]]
            self.assertEqual((row["FROM_CLIENT"], row["RELAY"], row["SERVER_NAME"]),
                             ("700", "auto:copy,copy", "localhost"))
        wait_until("no flow", lambda: flows(proxy) == [])

    def test_shows_where_a_flow_is_on_its_way(self):
        port, hung = reserve_port(), socket.create_server(("127.0.0.1", 0), backlog=0)
        full = [socket.socket() for _ in range(4)]  # fill the target's queue: the next one has to wait
        for one in full:
            one.setblocking(False)
            one.connect_ex(hung.getsockname())
        target = "127.0.0.1:{}".format(hung.getsockname()[1])
        plain = reserve_port()
        listeners = [tls_listener(port, certificates().leaf()), tcp_listener(plain)]
        proxy = self.start(listeners, [group(target, connect_timeout="60s")])
        with tcp_client(port), tcp_client(plain):
            wait_until("both", lambda: len(flows(proxy)) == 2)
            states = {flow["listener"]: (flow["state"], flow["target"], flow["target_socket"])
                      for flow in flows(proxy)}
            self.assertEqual(states, {"web": ("handshake", None, None), "plain": ("connecting", None, None)})
            proxy.stop(signal.SIGINT)
        for one in (*full, hung):
            one.close()

    def test_names_of_clients_are_no_terminal_commands(self):
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        proxy = self.start([tls_listener(port, certificates().leaf())], [group(target)])
        context = client_context()
        with context.wrap_socket(tcp_client(port), server_hostname="a\x1b]0;x\x07b") as client:
            self.assertTrue(echoed(client))
            table = wait_until("the flow", lambda: run_program("flows", "-c", proxy.config_file).stdout)
            self.assertNotIn("\x1b", table)
            self.assertIn("a?]0;x?b", table)
            [flow] = flows(proxy)
            self.assertEqual(flow["server_name"], "a\x1b]0;x\x07b")

    def test_agrees_with_ss(self):
        """In kernel TLS where the kernel has it; the rest is the same everywhere."""
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        proxy = self.start([tls_listener(port, certificates().leaf(), ssl_policy=TLS13)], [group(target)])
        clients = [tls_client(port, client_context(version))
                   for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) for _ in range(3)]
        for client in clients:
            self.assertTrue(echoed(client, bytes(3000)))
        def both_at_rest():  # a late acknowledgment changes what either says
            before, shown = ss_by_cookie(), flows(proxy)
            after = ss_by_cookie()
            mine = [flow[f"{side}_socket"]["cookie"] for flow in shown for side in ("client", "target")]
            return (shown, after) if all(before[cookie] == after[cookie] for cookie in mine) else None
        shown, real = wait_until("the same twice", both_at_rest)
        self.assertEqual(len(shown), len(clients))
        for flow in shown:
            for side in "client", "target":
                told, ss = flow[f"{side}_socket"], real[flow[f"{side}_socket"]["cookie"]]
                self.assertEqual(ss["peer"], flow[side])
                self.assertAlmostEqual(told["rtt_us"] / 1000, float(ss["rtt"]), places=3)
                self.assertEqual((told["receive_queue_bytes"], told["send_queue_bytes"]), ss["queues"])
                self.assertEqual(told["retransmits"], ss["retransmits"])
                self.assertEqual("tls" in told, ss["version"] is not None)
            if not KERNEL_TLS:
                self.assertEqual(flow["client_socket"]["ktls"], "no_kernel_tls")
                continue
            tls, ss = flow["client_socket"]["tls"], real[flow["client_socket"]["cookie"]]
            self.assertEqual(flow["client_socket"]["ktls"], "kernel")
            self.assertEqual((tls["tx"], tls["rx"]), (ss["tx"], ss["rx"]))
            self.assertEqual(tls["version"], f"TLSv{ss['version']}")
            self.assertEqual((tls["tx"], tls["rx"], tls["version"]), ("sw", "sw", flow["protocol"]))
            self.assertEqual(tls["cipher"], KERNEL_CIPHERS[ss["cipher"]])
        for client in clients:
            client.close()

    @unittest.skipIf(KERNEL_TLS, "a guest is too slow for a stopwatch")
    def test_ten_thousand_flows_print_in_under_a_second(self):
        harness.raise_descriptor_limit()
        port = reserve_port()
        targets = [self.enterContext(socket.create_server(("127.0.0.1", 0), backlog=4096)) for _ in range(4)]
        addresses = ["127.0.0.1:{}".format(target.getsockname()[1]) for target in targets]
        proxy = self.start([tcp_listener(port)], [group(*addresses)])
        clients = [tcp_client(port) for _ in range(MANY)]  # they wait in the targets' queues
        times = []

        def printed():
            begun = time.monotonic()
            table = run_program("flows", "-c", proxy.config_file).stdout
            times.append(time.monotonic() - begun)
            return table.splitlines()[1:]
        wait_until("all flows", lambda: len(printed()) == MANY)
        lines = [printed() for _ in range(4)][-1]
        self.assertEqual(len({line.split()[1] for line in lines}), MANY)
        self.assertEqual({line.split()[3] for line in lines}, {"relaying"})
        self.assertLess(min(times[-4:]), scaled(1, 5))
        proxy.stop(signal.SIGINT)  # their targets would never end them
        for client in clients:
            client.close()

    @needs_root
    def test_names_a_worker_that_does_not_answer(self):
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        proxy = self.start([tcp_listener(port)], [group(target)])
        clients = [tcp_client(port) for _ in range(6)]
        self.assertTrue(all(echoed(client) for client in clients))
        victim = proxy.workers()[1]
        others = sum(proxy.worker_of(client) != victim for client in clients)
        os.kill(victim, signal.SIGSTOP)
        try:
            for _ in range(2):
                done = run_program("flows", "-c", proxy.config_file, "--json")
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"worker 1 (pid {victim}) does not answer", done.stderr)
                told = json.loads(done.stdout)
                self.assertEqual((len(told["flows"]), len(told["missing"])), (others, 1))
        finally:
            os.kill(victim, signal.SIGCONT)
        wait_until("all flows", lambda: len(json.loads(run_program(
            "flows", "-c", proxy.config_file, "--json").stdout)["flows"]) == len(clients))
        for client in clients:
            client.close()

    def test_flows_come_and_go_while_they_are_listed(self):
        """Nothing but the list's own bookmarks keeps its place meanwhile."""
        port = reserve_port()
        target = self.enterContext(Target(serve_echo))
        proxy = self.start([tcp_listener(port)], [group(target)])
        deadline = time.monotonic() + scaled(4, 2)

        def churn(_):
            while time.monotonic() < deadline:
                with tcp_client(port) as client:
                    if not echoed(client):
                        return False
            return True
        with concurrent.futures.ThreadPoolExecutor(8) as pool, tcp_client(port) as stays:
            self.assertTrue(echoed(stays))
            mine = "127.0.0.1:{}".format(stays.getsockname()[1])
            running = pool.map(churn, range(6))
            while time.monotonic() < deadline:
                for listed in pool.map(lambda _: flows(proxy), range(2)):
                    self.assertEqual([flow["client"] for flow in listed].count(mine), 1)
            self.assertTrue(all(running))


class AdminSocket(unittest.TestCase):
    def start(self, **top):
        config = service([tcp_listener(reserve_port())], [group("127.0.0.1:9")], **top)
        return self.enterContext(Proxy(config))

    def test_is_its_owners_alone_and_goes_with_the_service(self):
        proxy = self.start()
        self.assertEqual(os.stat(proxy.folder / "admin.sock").st_mode & 0o777, 0o600)
        proxy.stop()
        self.assertFalse((proxy.folder / "admin.sock").exists())
        done = run_program("flows", "--socket", proxy.folder / "admin.sock")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no service answers on", done.stderr)

    def test_says_what_is_wrong_with_a_command(self):
        proxy = self.start()
        for request, words in ((b"\n", "expected a line of JSON"), (b"[1]\n", "expected a line of JSON"),
                               (b'{"command": 1}\n', "expected a line of JSON"),
                               (b"\xff\xfe\n", "expected a line of JSON"),
                               (b'{"command": "fly\xc3\xa9"}\n', "unknown command"),
                               (b"x" * 70_000, "longer than 64 KiB")):
            with admin(proxy) as client:
                self.assertIn(words, answer(client, request)["error"], request[:20])
        self.assertEqual(flows(proxy), [])

    def test_nobody_holds_it_up(self):
        """More silent connections than it keeps, some that send half a command and some that never read."""
        proxy = self.start()
        silent = [admin(proxy) for _ in range(50)]
        for number, client in enumerate(silent):
            client.setblocking(False)
            try:
                client.send(b'{"command": "flows"}\n' if number % 2 else b'{"comm')
            except BlockingIOError:
                pass
        self.assertEqual(flows(proxy), [])
        for client in silent:
            client.close()
        self.assertEqual(flows(proxy), [])

    def test_of_a_service_that_was_killed_is_replaced(self):
        proxy = self.start()
        path = proxy.folder / "admin.sock"
        workers = proxy.workers().values()
        proxy.expected_status = -signal.SIGKILL
        proxy.process.kill()
        wait_until("the workers to end", lambda: not any(harness.process_exists(pid) for pid in workers))
        self.assertTrue(path.exists())
        second = self.start(admin={"socket": path})
        self.assertEqual(flows(second), [])

    def test_of_another_service_is_left_alone(self):
        first = self.start()
        config = service([tcp_listener(reserve_port())], [group("127.0.0.1:9")],
                         admin={"socket": first.folder / "admin.sock"})
        with self.assertRaisesRegex(AssertionError, "another service answers on"):
            with Proxy(config):
                pass
        self.assertEqual(flows(first), [])

    def test_can_be_turned_off(self):
        proxy = self.start(admin={"socket": "off"})
        done = run_program("flows", "-c", proxy.config_file)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be asked", done.stderr)


if __name__ == "__main__":
    harness.main()
