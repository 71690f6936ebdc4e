"""Promised: each connection with a TLS listener leaves exactly one line in the access log, in the load
balancer's format, whatever became of it and whatever its client sent: every protocol version, suites of each
kind, every way to fail, both families, no server name and hostile ones. logrotate loses none. A full disk and
a FIFO that nobody reads cost lines, which are counted, and nothing else."""

import concurrent.futures
import json
import os
import pathlib
import signal
import ssl
import subprocess
import tempfile
import time
import unittest

import harness
from access_log import (OF_VERSION_1, RULES, NoLine, moment, name_extension, parse, server_name, text_of,
                        whole_lines)
from certificates import certificates
from harness import (Proxy, group, needs_root, reserve_port, scaled, service, tcp_listener, tls_listener,
                     wait_until)
from hello import TLS11, TLS12, TLS13, client_hello
from peers import Target, client_context, echoed, exchange_of, reset, serve_echo, tcp_client

ALL_VERSIONS = "ELBSecurityPolicy-TLS13-1-0-2021-06"
MODERN = "ELBSecurityPolicy-TLS13-1-2-2021-06"
NAME = "net/tests/0123456789abcdef"
HELLO_ONLY = ["chosen_cert_arn", "domain_name"]  # what a failed handshake may have left
UNKNOWN_CA = 48
FLOWS = scaled(600, 150)


class AccessLog(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="tlsplice-e2e-")))
        self.file = self.folder / "access.log"
        self.target = self.enterContext(Target(serve_echo))

    def start(self, host="127.0.0.1", ssl_policy=ALL_VERSIONS, prefix=(), target=None, **keys):
        self.port, self.host = reserve_port(), host
        self.certificate = certificates().leaf()
        listener = tls_listener(self.port, self.certificate, host=f"[{host}]" if ":" in host else host,
                                ssl_policy=ssl_policy, handshake_timeout="1s")
        settings = {"file": self.file, "load_balancer": NAME, **keys}
        self.proxy = self.enterContext(
            Proxy(service([listener], [group(target or self.target)], access_log=settings), prefix=prefix))

    def line_of(self, address):
        """The line of the client with that address: the only one."""
        def found():
            return [line for line in map(parse, whole_lines(self.file))
                    if line["client_port"] == text_of(address)]
        [line] = wait_until(lambda: f"the line of {address}", found)
        self.assertEqual((line["type"], line["elb"], line["listener"]), ("tls", NAME, "web"))
        self.assertEqual(line["destination_port"], text_of((self.host, self.port)))
        self.assertIsNone(line["chosen_cert_serial"])
        return line

    def flow(self, context=None, name="www.example.com", data=b"ping\n"):
        """The address of a client whose connection went well, and ended."""
        with tcp_client(self.port, self.host) as plain:
            address = plain.getsockname()
            with (context or client_context()).wrap_socket(plain, server_hostname=name) as client:
                self.assertTrue(echoed(client, data))
                client.unwrap()
        return address

    def say(self, data, end=lambda connection: None):
        """The address of a client that says these bytes, then waits for the end unless `end` was one."""
        with tcp_client(self.port, self.host) as client:
            address = client.getsockname()
            client.sendall(data)
            if end(client) is None:
                try:
                    while client.recv(4096):
                        pass
                except ConnectionError:
                    pass
        return address

    def assert_failed(self, line, **expected):
        """A connection without a handshake: nothing is there but `expected`."""
        for name in set(RULES) - set(HELLO_ONLY) - set(OF_VERSION_1[:8]) - {"tls_connection_creation_time"}:
            self.assertEqual(line[name], expected.get(name, 0 if name.endswith("_bytes") else None), name)
        for name in HELLO_ONLY:
            self.assertEqual(line[name], expected.get(name), name)


class Lines(AccessLog):
    def test_every_version_and_kinds_of_suites(self):
        self.start(format="2.0")
        old = "DEFAULT:@SECLEVEL=0"
        for version, word, suites in (
                (ssl.TLSVersion.TLSv1, "tlsv10", ["ECDHE-RSA-AES128-SHA", "AES256-SHA"]),
                (ssl.TLSVersion.TLSv1_1, "tlsv11", ["ECDHE-RSA-AES256-SHA", "AES128-SHA"]),
                (ssl.TLSVersion.TLSv1_2, "tlsv12", ["ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384",
                                                    "ECDHE-RSA-AES256-SHA384", "AES128-SHA256"]),
                (ssl.TLSVersion.TLSv1_3, "tlsv13", [None])):
            for suite in suites:
                with self.subTest(version=word, suite=suite):
                    context = client_context(version, f"{suite}:@SECLEVEL=0" if suite else old)
                    line = self.line_of(self.flow(context, data=b"x" * 1234))
                    self.assertEqual(line["tls_protocol_version"], word)
                    self.assertEqual(line["tls_cipher"], suite or "TLS_AES_128_GCM_SHA256")
                    self.assertEqual((line["received_bytes"], line["sent_bytes"]), (1234, 1234))
                    self.assertEqual(line["domain_name"], "www.example.com")
                    self.assertEqual(line["chosen_cert_arn"], str(self.certificate["chain"]))
                    self.assertIsNone(line["incoming_tls_alert"], "close_notify is an end, no alert")
                    rsa = suite is not None and suite.startswith("AES")
                    self.assertEqual(line["tls_keyexchange"] is None, rsa, line["tls_keyexchange"])

    def test_version_one_is_the_default_and_has_18_fields(self):
        for settings in {}, {"format": "1.0"}:
            with self.subTest(settings):
                self.start(**settings)
                line = self.line_of(self.flow())
                self.assertEqual((list(line), line["version"]), (OF_VERSION_1, "1.0"))

    def test_json_has_the_same_fields(self):
        self.start(format="json")
        good = self.line_of(self.flow())
        self.assertEqual(list(good), list(RULES))
        self.assertEqual((good["version"], good["received_bytes"]), ("2.0", 5))
        self.assert_failed(self.line_of(self.say(b"GET / HTTP/1.1\r\n\r\n")))
        for line in whole_lines(self.file):
            self.assertIs(json.loads(line)["alpn_fe_protocol"], None)

    def test_the_times_are_those_of_the_connection(self):
        self.start(format="2.0")
        before = time.time()
        with tcp_client(self.port) as plain:
            time.sleep(0.3)
            with client_context().wrap_socket(plain, server_hostname="localhost") as client:
                self.assertTrue(echoed(client))
                time.sleep(0.9)
                address = client.getsockname()
                client.unwrap()
        line = self.line_of(address)
        self.assertGreaterEqual(line["tls_handshake_time"], 295, "the client's delay is part of it")
        self.assertGreaterEqual(line["connection_time"], 1190)
        self.assertLess(line["connection_time"] - line["tls_handshake_time"], 60_000)
        began = moment(line["tls_connection_creation_time"] + "+00:00").timestamp()
        self.assertTrue(int(before) - 1 <= began <= time.time(), "UTC")

    def test_ipv6(self):
        self.start("::1")
        line = self.line_of(self.flow())
        self.assertTrue(line["client_port"].startswith("[::1]:"))

    def test_no_server_name(self):
        self.start()
        self.assertIsNone(self.line_of(self.flow(name=None))["domain_name"])

    def ask_for(self, name):
        """The address of a client that asks for that name, and leaves at the answer."""
        hello = client_hello(TLS12, ["ECDHE-RSA-AES128-GCM-SHA256"], extra=[name_extension(name)])
        return self.say(hello, lambda client: client.recv(10) and reset(client) or 1)

    def test_hostile_server_names_break_no_line(self):
        self.start()
        names = [b"two words", b'"quoted"', b"line\r\nbreak\n", b"\x1b[31mred", bytes(range(1, 256)),
                 "münchen.example".encode(), b"-", b"100%25", b"%0a", b"a" * 255, b"..", b"{}", b"\xff"]
        chain = str(self.certificate["chain"])
        for name in names:
            with self.subTest(name):
                line = self.line_of(self.ask_for(name))
                self.assertEqual(server_name(line), name)
                self.assertEqual(line["chosen_cert_arn"], chain)
        for name in (b"nul\0inside", b"a" * 256, b""):
            with self.subTest(name):
                self.assertIsNone(self.line_of(self.ask_for(name))["domain_name"])
        self.assertTrue(self.flow())


class Failures(AccessLog):
    def setUp(self):
        super().setUp()
        self.start(ssl_policy=MODERN, format="2.0")
        self.hello = [name_extension(b"www.example.com")]
        self.known = {"chosen_cert_arn": str(self.certificate["chain"]), "domain_name": "www.example.com"}

    def test_not_tls(self):
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff" * 4096,
                     b"\x15\x03\x01\x00\x02\x02\x28", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff"):
            with self.subTest(data[:20]):
                self.assert_failed(self.line_of(self.say(data)))

    def test_no_shared_protocol_or_cipher(self):
        for version, suite in ((TLS11, "ECDHE-RSA-AES128-SHA"), (TLS12, "DES-CBC3-SHA")):
            with self.subTest(suite):
                line = self.line_of(self.say(client_hello(version, [suite], extra=self.hello)))
                self.assert_failed(line, **self.known)

    def test_the_client_refuses_with_an_alert(self):
        untrusting = client_context()
        untrusting.verify_mode = ssl.CERT_REQUIRED
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version):
                untrusting.minimum_version = ssl.TLSVersion.TLSv1_2
                untrusting.maximum_version = version
                with tcp_client(self.port) as client, self.assertRaises(ssl.SSLError):
                    address = client.getsockname()
                    untrusting.wrap_socket(client, server_hostname="www.example.com")
                self.assert_failed(self.line_of(address), incoming_tls_alert=UNKNOWN_CA, **self.known)

    def test_an_alert_inside_the_handshake(self):
        hello = client_hello(TLS12, ["ECDHE-RSA-AES128-GCM-SHA256"], extra=self.hello)
        for level, alert in ((2, 40), (1, 90)):
            with self.subTest(alert):
                record = b"\x15\x03\x03\x00\x02" + bytes([level, alert])
                line = self.line_of(self.say(hello, lambda client, record=record: client.sendall(record)))
                self.assert_failed(line, incoming_tls_alert=alert, **self.known)

    def test_timeout(self):
        hello = client_hello(TLS12, ["ECDHE-RSA-AES128-GCM-SHA256"], extra=self.hello)
        for data, known in ((b"", {}), (hello[:50], {}), (hello, self.known)):
            with self.subTest(len(data)):
                line = self.line_of(self.say(data))
                self.assert_failed(line, **known)
                self.assertGreaterEqual(line["connection_time"], 990)

    def test_the_client_leaves(self):
        hello = client_hello(TLS13, ["TLS_AES_128_GCM_SHA256"], extra=self.hello)
        for end in (lambda client: client.close() or 1, lambda client: reset(client) or 1):
            self.assert_failed(self.line_of(self.say(hello[:20], end)))
            line = self.line_of(self.say(hello, lambda client, end=end: client.recv(1) and end(client)))
            self.assert_failed(line, **self.known)

    def test_no_target(self):
        self.start(target=f"127.0.0.1:{reserve_port()}", format="2.0")
        with tcp_client(self.port) as plain:
            address = plain.getsockname()
            with self.assertRaises(OSError), client_context().wrap_socket(plain) as client:
                client.recv(1)
                raise ConnectionResetError
        line = self.line_of(address)
        self.assertEqual((line["received_bytes"], line["tls_protocol_version"]), (0, "tlsv13"))
        self.assertIsNotNone(line["tls_handshake_time"])

    def test_cut_by_the_stop(self):
        with tcp_client(self.port) as plain:
            client = client_context().wrap_socket(plain, server_hostname="localhost")
            self.assertTrue(echoed(client))
            address = client.getsockname()
            self.proxy.stop(signal.SIGINT)
        line = self.line_of(address)
        self.assertEqual((line["received_bytes"], line["tls_protocol_version"]), (5, "tlsv13"))


class Places(AccessLog):
    def flows(self, count, threads=8):
        """Addresses of the clients of so many flows, several at a time."""
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda _: text_of(self.flow()), range(count)))

    def logged(self, *files):
        return sorted(parse(line)["client_port"] for line in whole_lines(*files))

    def test_rotation_under_load_loses_no_line(self):
        self.start()
        old = [self.folder / f"access.log.{number}" for number in range(5)]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            load = pool.submit(self.flows, FLOWS)
            for count, file in enumerate(old, 1):
                time.sleep(0.3)
                self.file.rename(file)
                if count % 2:
                    self.file.touch()  # logrotate's "create"
                self.proxy.tell(signal.SIGUSR1)
                self.proxy.wait_events("access_log_reopened", count)
            clients = load.result()
        last = self.flows(4)
        wait_until("every line", lambda: len(whole_lines(self.file, *old)) >= FLOWS + 4)
        self.assertEqual(self.logged(self.file, *old), sorted(clients + last))
        self.assertLessEqual(set(last), set(self.logged(self.file)), "the workers have not followed")
        self.assertEqual(self.proxy.counters()["DroppedAccessLogLineCount"], 0)

    @needs_root
    def test_a_new_worker_writes_where_the_others_do(self):
        self.start()
        self.file.rename(self.folder / "old")
        self.proxy.tell(signal.SIGUSR1)
        self.proxy.wait_events("access_log_reopened")
        for pid in self.proxy.workers().values():
            os.kill(pid, signal.SIGKILL)
        self.proxy.wait_events("worker_started", 4)
        self.assertIsNotNone(self.line_of(self.flow()))
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o640)

    def test_a_failed_reopen_keeps_the_old_file(self):
        self.file = self.folder / "logs" / "access.log"
        self.file.parent.mkdir()
        self.start()
        moved = self.file.parent.rename(self.folder / "moved")
        self.proxy.tell(signal.SIGUSR1)
        [event] = self.proxy.wait_events("access_log_not_reopened")
        self.assertIn(str(self.file), event["error"])
        self.file = moved / "access.log"
        self.assertIsNotNone(self.line_of(self.flow()))

    def test_stdout(self):
        out = self.folder / "stdout"
        self.start(file="stdout", prefix=("sh", "-c", f'exec "$@" > {out}', "sh"))
        self.file = out
        clients = self.flows(20)
        wait_until("every line", lambda: len(whole_lines(out)) >= 20)
        self.assertEqual(self.logged(out), sorted(clients))

    def test_stdout_that_is_a_stuck_pipe(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.start(file="stdout", prefix=("sh", "-c", f'exec "$@" > /proc/{os.getpid()}/fd/{writer}', "sh"))
        os.close(writer)
        self.until_dropped()

    def test_listeners_have_lines_as_told(self):
        told = [({}, "TLS"), ({"access_log": False}, None), ({}, None), ({"access_log": True}, "TCP")]
        ports = [reserve_port() for _ in told]
        listeners = [tls_listener(ports[i], certificates().leaf(), name=f"l{i}", **told[i][0]) if i < 2
                     else tcp_listener(ports[i], name=f"l{i}", **told[i][0]) for i in range(4)]
        for form in "1.0", "2.0", "json":
            log = {"file": self.folder / form, "format": form, "load_balancer": NAME}
            with Proxy(service(listeners, [group(self.target)], access_log=log)) as proxy:
                ends = [exchange_of(port, context=client_context() if i < 2 else None)
                        for i, port in enumerate(ports)]
                proxy.wait_counters(NewFlowCount=4, ActiveFlowCount=0)
            lines = {line["listener"]: line for line in map(parse, whole_lines(self.folder / form))}
            self.assertEqual({name: lines[name]["type"] for name in lines}, {"l0": "tls", "l3": "tcp"})
            plain = lines["l3"]
            self.assertEqual(plain["client_port"], text_of(ends[3][0]))
            self.assertEqual((plain["received_bytes"], plain["sent_bytes"]), (5, 5))
            self.assertEqual({plain.get(name) for name in list(RULES)[11:21]}, {None})

    # What cannot be written

    def until_dropped(self):
        """How many flows there were until a line was dropped; each of them went well."""
        count = 0
        while self.proxy.counters()["DroppedAccessLogLineCount"] < 20:
            count += len(self.flows(40))
            self.assertLess(count, 5000, "nothing is ever dropped")
        self.proxy.wait_counters(ActiveFlowCount=0)
        return count

    def test_a_fifo_that_nobody_reads(self):
        os.mkfifo(self.file)
        self.start()
        count = self.until_dropped()
        with open(self.file, "rb", buffering=0) as fifo:
            os.set_blocking(fifo.fileno(), False)
            text = b""
            while block := fifo.read(65536):
                text += block
            lines = text.decode("ascii").splitlines()
            for line in lines:
                parse(line)
            self.assertEqual(len(lines) + self.proxy.counters()["DroppedAccessLogLineCount"], count)
            self.flow()
            line = wait_until("a line for the reader", lambda: fifo.read(65536))
            parse(line.decode("ascii").rstrip("\n"))

    @needs_root
    def test_a_full_disk(self):
        disk = self.folder / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", disk],
                                 capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f"no right to mount: {mounted.stderr}")
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        self.file = disk / "access.log"
        filler = disk / "filler"
        filler.write_bytes(bytes(16384))
        self.start()
        count = self.until_dropped()
        filler.unlink()
        after = self.flows(10)
        wait_until("the lines after", lambda: set(after) <= set(self.whole()))
        self.proxy.wait_counters(ActiveFlowCount=0)
        dropped = self.proxy.counters()["DroppedAccessLogLineCount"]
        self.assertEqual(len(self.whole()) + dropped, count + 10)

    def whole(self):
        """The clients of all lines but those that the full disk cut short, each at a line of its own."""
        clients, cut = [], 0
        for line in whole_lines(self.file):
            try:
                clients.append(parse(line)["client_port"])
            except NoLine:
                cut += 1
        self.assertLessEqual(cut, len(self.proxy.workers()))
        return clients


if __name__ == "__main__":
    harness.main()
