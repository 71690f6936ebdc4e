"""Promised: nothing that a client sends can end a worker, hold it up, or cost it anything afterwards.
Checked with slow, silent, garbage, plaintext and half-said clients, alone and 2,000 in a row: each is cut
off in time, counted once, recorded with its reason; the same workers go on serving good clients and hold
no descriptor more than before."""

import random
import socket
import ssl
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import harness
from certificates import certificates
from harness import PATIENCE, Proxy, group, reserve_port, scaled, service, tls_listener, wait_until
from hello import SUITES, TLS12, TLS13, client_hello
from peers import SClient, Target, client_context, echoed, reset, serve_echo, tcp_client, tls_client

HANDSHAKE_TIMEOUT = 2.0
ALERT = 21
HELLO = client_hello(TLS12, list(SUITES))
HELLO13 = client_hello(TLS13, list(SUITES))
SSLV2_HELLO = bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16)

# What each sends at once; then it waits for the server to end the connection.
TALKERS = {
    "plaintext HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "plaintext HTTP proxy": b"CONNECT localhost:443 HTTP/1.1\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SSLv2 hello": SSLV2_HELLO,
    "zeros": bytes(4096),
    "all ones": b"\xff" * 4096,
    "random bytes": random.Random(1).randbytes(20000),
    "record longer than any may be": b"\x16\x03\x01\xff\xff" + bytes(70000),
    "empty record": b"\x16\x03\x01\x00\x00" * 40,
    "application data first": b"\x17\x03\x03\x00\x10" + bytes(16),
    "an alert first": b"\x15\x03\x01\x00\x02\x02\x28",
    "change cipher spec first": b"\x14\x03\x01\x00\x01\x01",
    "handshake message longer than any may be": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380),
    "hello with broken lengths": HELLO[:43] + b"\xff" + HELLO[44:],
    "hello without suites": client_hello(TLS12, []),
    "unknown suites": client_hello(TLS12, [0x1A1A, 0x2A2A]),
    "unknown version": HELLO[:9] + b"\x02\x00" + HELLO[11:],
    "no compression method": client_hello(TLS12, list(SUITES), compression=b""),
    "two hellos": HELLO + HELLO,
    "hello, then garbage": HELLO + b"\x16\x03\x03\x00\x20" + bytes(32),
    "TLS 1.3 hello, then garbage": HELLO13 + b"\x17\x03\x03\x00\x40" + bytes(64),
}
# Sent inside an established flow: handshake, alert, change cipher spec, no TLS at all, far too long.
JUNK_RECORDS = (b"\x16\x03\x03\x00\x20" + bytes(32), b"\x15\x03\x03\x00\x02\x02\x50",
                b"\x14\x03\x03\x00\x01\x02", b"GET / HTTP/1.1\r\n\r\n",
                b"\x17\x03\x03\xff\xff" + bytes(70000))


class HostileClients(unittest.TestCase):
    def setUp(self):
        self.port = reserve_port()
        listener = tls_listener(self.port, certificates().leaf(),
                                ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06",
                                handshake_timeout=f"{HANDSHAKE_TIMEOUT:.0f}s")
        self.target = self.enterContext(Target(serve_echo))
        self.proxy = self.enterContext(Proxy(service([listener], [group(self.target)])))
        self.good_client()
        self.proxy.wait_counters(ActiveFlowCount=0)
        self.workers, self.descriptors = self.proxy.workers(), self.proxy.worker_descriptors()
        self.addCleanup(self.check_unharmed)

    def good_client(self):
        with tls_client(self.port) as client:
            self.assertTrue(echoed(client))
            client.unwrap()

    def check_unharmed(self):
        """Runs while the service still does: same workers, good clients served, nothing leaked."""
        self.good_client()
        self.assertEqual(self.proxy.workers(), self.workers)
        counters = self.proxy.wait_counters(ActiveFlowCount=0)
        self.assertEqual(counters["WorkerDeathCount"], 0)
        wait_until("descriptors back to the baseline",
                   lambda: self.proxy.worker_descriptors() <= self.descriptors)

    def end_of(self, connection):
        """The first record type that came back, or None; how long the server took to end the connection."""
        start, data = time.monotonic(), b""
        try:
            while block := connection.recv(4096):
                data += block
        except ConnectionError:
            pass
        return (data[0] if data else None), time.monotonic() - start

    def assert_recorded(self, connection_address, *ends):
        flow = self.proxy.flow_of(connection_address)
        self.assertIn(flow["end"], ends, flow)
        self.assertEqual(flow["target"], "-")
        self.assertEqual(self.target.accepted, 1)  # the good client of setUp: nobody hostile reached a target
        return flow

    def test_talkers_are_answered_or_closed_at_once(self):
        for name, data in TALKERS.items():
            with self.subTest(name), self.proxy.counting(ClientTLSNegotiationErrorCount=1):
                with tcp_client(self.port) as client:
                    address = client.getsockname()
                    client.sendall(data)
                    kind, took = self.end_of(client)
                if name.startswith(("hello, then", "TLS 1.3 hello", "two hellos")):
                    self.assertEqual(kind, 22)  # the ServerHello
                else:
                    self.assertIn(kind, (ALERT, None))
                self.assertLess(took, HANDSHAKE_TIMEOUT * 0.9, "only the timeout ended it")
                flow = self.assert_recorded(address, "handshake_failed")
                self.assertNotIn(flow.get("detail", "-"), ("", "-"), "the record gives no reason")

    def test_plaintext_http_is_named(self):
        with tcp_client(self.port) as client:
            client.sendall(TALKERS["plaintext HTTP"])
            self.end_of(client)
            self.assertIn("http", self.proxy.flow_of(client.getsockname())["detail"].lower())

    def test_silent_and_half_said_clients_are_cut_off(self):
        half_a_record = b"\x16\x03\x01\x40\x00" + HELLO
        said = [b"", HELLO[:1], HELLO[:3], HELLO[:60], half_a_record, HELLO, HELLO13]
        with self.proxy.counting(ClientTLSNegotiationErrorCount=len(said)):
            with ThreadPoolExecutor(len(said)) as pool:
                list(pool.map(self.wait_for_the_timeout, said))

    def wait_for_the_timeout(self, data):
        with tcp_client(self.port) as client:
            client.sendall(data)
            _, took = self.end_of(client)
            self.assertGreater(took, HANDSHAKE_TIMEOUT * 0.8)
            self.assertLess(took, HANDSHAKE_TIMEOUT + scaled(2, 10))
            flow = self.assert_recorded(client.getsockname(), "handshake_timeout")
            self.assertGreaterEqual(int(flow["duration_ms"]), HANDSHAKE_TIMEOUT * 800)

    def test_one_byte_a_second_does_not_extend_the_deadline(self):
        with self.proxy.counting(ClientTLSNegotiationErrorCount=1), tcp_client(self.port) as client:
            start, ended = time.monotonic(), None
            client.settimeout(1.0)
            for byte in HELLO:
                try:
                    client.sendall(bytes([byte]))
                    ended = client.recv(1)
                except TimeoutError:
                    continue
                except ConnectionError:
                    ended = b""
                break
            took = time.monotonic() - start
            self.assertIsNotNone(ended)
            self.assertGreater(took, HANDSHAKE_TIMEOUT * 0.8)
            self.assertLess(took, HANDSHAKE_TIMEOUT + scaled(2, 10))
            self.assert_recorded(client.getsockname(), "handshake_timeout")

    def test_clients_that_leave_during_the_handshake(self):
        for name, data in {"at once": b"", "half a hello": HELLO[:60], "after the hello": HELLO}.items():
            for leave in (lambda client: client.shutdown(socket.SHUT_WR), reset):
                with self.subTest(name), self.proxy.counting(ClientTLSNegotiationErrorCount=1), \
                        tcp_client(self.port) as client:
                    address = client.getsockname()
                    client.sendall(data)
                    leave(client)
                    self.assert_recorded(address, "client_gone")

    def test_a_client_that_does_not_trust_the_certificate(self):
        for flag in ("-tls1_2", "-tls1_3"):
            with self.subTest(flag), self.proxy.counting(ClientTLSNegotiationErrorCount=1):
                flows = len(self.proxy.events("flow"))
                status, output = SClient(self.port, flag, "-verify_return_error", "-no-CAfile", "-no-CApath",
                                         "-no-CAstore").finish()
                self.assertNotEqual(status, 0, output)
                flow = self.proxy.wait_events("flow", flows + 1)[-1]
                self.assertEqual(flow["end"], "handshake_failed")
                self.assertIn("unknown ca", flow["detail"].lower())

    def test_two_thousand_in_a_row_and_good_ones_among_them(self):
        count = scaled(2000, 200)
        dice = random.Random(2)
        kinds = [dice.choice([*TALKERS.values(), b"", HELLO[:60], HELLO]) for _ in range(count)]
        with self.proxy.counting(ClientTLSNegotiationErrorCount=count):
            with ThreadPoolExecutor(8) as pool:
                for number, _ in enumerate(pool.map(self.hit_and_run, kinds)):
                    if number % (count // 10) == 0:
                        self.good_client()
        flows = self.proxy.wait_events("flow", count + 11)
        self.assertTrue(all(flow["end"] in ("handshake_failed", "client_gone", "closed") for flow in flows))

    def hit_and_run(self, data):
        with tcp_client(self.port) as client:
            try:
                client.sendall(data)
            except ConnectionError:
                return
            if data and data[0] & 1:
                reset(client)

    def test_garbage_inside_an_established_flow(self):
        """Renegotiating, alerting or simply broken: the flow ends, the worker does not."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for junk in JUNK_RECORDS:
                client = tls_client(self.port, client_context(version))
                self.assertTrue(echoed(client))
                address = client.getsockname()
                with socket.socket(fileno=client.detach()) as raw:
                    raw.settimeout(PATIENCE)
                    raw.sendall(junk)
                    self.end_of(raw)
                self.assertEqual(self.proxy.flow_of(address)["end"], "client_error")


if __name__ == "__main__":
    harness.main()
