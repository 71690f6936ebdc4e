"""Promised: the targets of a group with proxy_protocol_v2 learn who the client is, from a header that is the
load balancer's byte for byte and that HAProxy and nginx understand: at once or with the client's first bytes,
before the hello of a TLS group, however the bytes after it move. It is no payload and changes no end: a
half-close, a reset and silence are what they are without it."""

import hashlib
import http.client
import os
import socket
import ssl
import time
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, service, tcp_listener, tls_listener, wait_until
from peers import (CLEAN, RESET, Target, TcpEnd, TlsEnd, client_context, exchange_of, receive_exactly,
                   receive_line, server_context, tcp_client, tls_client)
from proxy_headers import (ALPN, AUTHORITY, CRC32C, NOOP, SSL, SSL_CIPHER, SSL_VERSION, Haproxy, Nginx,
                           receive_header)

WITH_PAYLOAD, AT_ONCE = "on_first_ack_with_payload", "on_first_ack"
PLACEMENTS = (WITH_PAYLOAD, AT_ONCE)
FRONTS = ("TLS", "TCP")
RELAYS = ("auto", "splice", "uring-splice", "copy")
BULK = harness.scaled(1_000_000, 300_000)
KTLS = "kernel" if harness.KERNEL_TLS else "no_kernel_tls"
A_WHILE = 0.3  # in which nothing must come
POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
CIPHER = "ECDHE-RSA-AES128-GCM-SHA256"  # of TLS 1.2


class WithService(unittest.TestCase):
    def start(self, target, placement=None, protocol="TCP", tlvs=(), host="127.0.0.1", **keys):
        """Listeners of both kinds in front of a group whose targets want the header."""
        wanted = {"enabled": True}
        if placement:
            wanted["client_to_server"] = {"header_placement": placement}
        if tlvs:
            wanted["tlvs"] = list(tlvs)
        self.host, self.ports = host, {front: reserve_port() for front in FRONTS}
        name = f"[{host}]" if ":" in host else host
        listeners = [tls_listener(self.ports["TLS"], certificates().leaf(), host=name, ssl_policy=POLICY,
                                  **keys),
                     tcp_listener(self.ports["TCP"], host=name, **keys)]
        groups = [group(target, protocol=protocol, proxy_protocol_v2=wanted)]
        self.proxy = self.enterContext(Proxy(service(listeners, groups)))

    def target(self, serve, **keys):
        return self.enterContext(Target(serve, **keys))

    def connect(self, front):
        if front == "TLS":
            return self.enterContext(tls_client(self.ports[front], host=self.host))
        return self.enterContext(tcp_client(self.ports[front], host=self.host))

    def end(self, front):
        """One side of a connection whose every end is in the test's hand."""
        connection = self.enterContext(tcp_client(self.ports[front], host=self.host))
        return TlsEnd(connection, client_context()) if front == "TLS" else TcpEnd(connection)

    def told(self, client):
        """What a target must know of it: (its address, the listener's)."""
        return client.getsockname()[:2], client.getpeername()[:2]


class Bytes(WithService):
    def takes_bulk(self, connection):
        """At the target: the header, what follows it, and as much back."""
        header = receive_header(connection)
        digest = hashlib.sha256(receive_exactly(connection, BULK)).hexdigest()
        connection.sendall(self.payload)
        return header, digest

    def test_the_header_is_the_load_balancers_and_no_byte_of_the_payload_is_touched(self):
        self.payload = os.urandom(BULK)
        for relay in RELAYS:
            for placement in PLACEMENTS:
                with self.subTest(relay=relay, placement=placement):
                    target = self.target(self.takes_bulk)
                    self.start(target, placement, relay=relay)
                    for number, front in enumerate(FRONTS, 1):
                        self.expect_bulk(front, target, number)

    def expect_bulk(self, front, target, number):
        client = self.connect(front)
        client.sendall(self.payload)
        self.assertEqual(receive_exactly(client, BULK), self.payload)
        header, digest = target.wait_results(number)[-1]
        self.assertEqual(digest, hashlib.sha256(self.payload).hexdigest())
        self.assertEqual((header.source, header.destination), self.told(client))
        self.assertEqual((header.command, header.family, len(header.raw)), (0x21, 0x11, 100))
        self.assertEqual([kind for kind, _ in header.tlvs], [CRC32C, NOOP])
        self.assertEqual(header.value(NOOP), bytes(62))
        address = client.getsockname()
        client.close()
        flow = self.proxy.flow_of(address)
        self.assertEqual((flow["received_bytes"], flow["sent_bytes"]), (str(BULK), str(BULK)))
        self.assertEqual(flow["client_ktls"], KTLS if front == "TLS" else "-")

    def test_ipv6(self):
        target = self.target(receive_header)
        self.start(target, AT_ONCE, host="::1")
        for number, front in enumerate(FRONTS, 1):
            client = self.connect(front)
            header = target.wait_results(number)[-1]
            self.assertEqual((header.source, header.destination), self.told(client))
            self.assertEqual((header.family, len(header.raw)), (0x21, 100))

    def test_the_header_shares_a_segment_with_the_first_bytes(self):
        target = self.target(lambda connection: connection.recv(4096))
        self.start(target)
        for number, front in enumerate(FRONTS, 1):
            self.connect(front).sendall(b"hello")
            first = target.wait_results(number)[-1]
            self.assertEqual((len(first), first[100:]), (105, b"hello"))

    def test_extras_are_what_haproxy_says_of_the_same_client(self):
        target = self.target(receive_header)
        self.start(target, AT_ONCE, tlvs=("authority", "ssl", "alpn"))
        sender = self.enterContext(Haproxy(certificates().leaf(), target.address))
        results = 0
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            headers = []
            for port in self.ports["TLS"], sender.sender:
                client = self.enterContext(tls_client(port, client_context(version, CIPHER)))
                results += 1
                headers.append(target.wait_results(results)[-1])
            ours, theirs = headers
            self.assertEqual(theirs.value(AUTHORITY), b"localhost")
            self.assertEqual(ours.value(AUTHORITY), theirs.value(AUTHORITY))
            self.assertEqual(ours.tls()[2], theirs.tls()[2])
            self.assertEqual(ours.tls()[2], {SSL_VERSION: client.version().encode(),
                                             SSL_CIPHER: client.cipher()[0].encode()})
            self.assertEqual(ours.tls()[0], theirs.tls()[0])
            self.assertNotEqual(ours.tls()[1], 0)  # no certificate of the client's was verified
            self.assertIsNone(ours.value(ALPN))

    def test_a_tcp_listener_has_no_extras(self):
        target = self.target(receive_header)
        self.start(target, AT_ONCE, tlvs=("authority", "ssl", "alpn"))
        self.connect("TCP")
        header = target.wait_results(1)[-1]
        self.assertEqual([kind for kind, _ in header.tlvs], [CRC32C, NOOP])


class Independent(WithService):
    """HAProxy and nginx as targets."""

    def request(self, client):
        """What HAProxy answers: [source, port, destination, port, authority]."""
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(client)
        response.begin()
        return response.read().decode().split()

    def words(self, client):
        (source, source_port), (destination, destination_port) = self.told(client)
        return [source, str(source_port), destination, str(destination_port)]

    def test_haproxy_understands_it(self):
        haproxy = self.enterContext(Haproxy(certificates().leaf()))
        for protocol, address in (("TCP", haproxy.address), ("TLS", haproxy.tls_address)):
            for placement in PLACEMENTS:
                with self.subTest(protocol=protocol, placement=placement):
                    self.start(address, placement, protocol, tlvs=("authority", "ssl"))
                    for front in FRONTS:
                        client = self.connect(front)
                        name = ["localhost"] if front == "TLS" else []
                        self.assertEqual(self.request(client), self.words(client) + name)

    def test_haproxy_understands_ipv6(self):
        haproxy = self.enterContext(Haproxy(certificates().leaf()))
        self.start(haproxy.address, host="::1")
        for front in FRONTS:
            client = self.connect(front)
            self.assertEqual(self.request(client), self.words(client))

    def test_haproxy_would_refuse_a_wrong_checksum(self):
        """Or its word would be worth little."""
        haproxy = self.enterContext(Haproxy(certificates().leaf()))
        target = self.target(receive_header)
        self.start(target, AT_ONCE)
        self.connect("TCP")
        right = target.wait_results(1)[-1].raw
        wrong = right[:31] + bytes([right[31] ^ 1]) + right[32:]
        for header, expected in ((right, True), (wrong, False)):
            with tcp_client(haproxy.plain) as direct:
                direct.sendall(header)
                try:
                    answered = len(self.request(direct)) == 4
                except (ConnectionError, http.client.HTTPException):
                    answered = False
                self.assertEqual(answered, expected, haproxy.log())

    def test_nginx_understands_it_before_the_client_has_said_a_word(self):
        nginx = self.enterContext(Nginx(certificates().leaf()))
        for protocol, address in (("TCP", nginx.address), ("TLS", nginx.tls_address)):
            with self.subTest(protocol=protocol):
                self.start(address, AT_ONCE, protocol)
                for front in FRONTS:
                    client = self.end(front)
                    said, _ = client.rest()
                    self.assertEqual(said.decode().split(), self.words(client.socket))


class Silence(WithService):
    """A client that says nothing."""

    def test_with_payload_the_target_waits_for_the_client(self):
        target = self.target(lambda connection: (receive_header(connection), receive_line(connection)))
        self.start(target, WITH_PAYLOAD)
        for number, front in enumerate(FRONTS, 1):
            client = self.connect(front)
            wait_until("the target is connected", lambda: target.accepted == number)
            time.sleep(A_WHILE)
            self.assertEqual(len(target.results), number - 1)
            client.sendall(b"at last\n")
            header, line = target.wait_results(number)[-1]
            self.assertEqual((header.source, line), (client.getsockname()[:2], b"at last"))

    def test_at_once_a_server_may_speak_first(self):
        def greet(connection):
            header = receive_header(connection)
            connection.sendall(b"220 ready\n")
            return header
        target = self.target(greet)
        self.start(target, AT_ONCE)
        for front in FRONTS:
            self.assertEqual(receive_line(self.connect(front)), b"220 ready")

    def test_with_payload_what_an_impatient_server_says_passes(self):
        def greet(connection):
            connection.sendall(b"220 ready\n")
            return receive_header(connection), receive_line(connection)
        target = self.target(greet)
        self.start(target, WITH_PAYLOAD)
        for number, front in enumerate(FRONTS, 1):
            client = self.connect(front)
            self.assertEqual(receive_line(client), b"220 ready")
            client.sendall(b"HELO\n")
            self.assertEqual(target.wait_results(number)[-1][1], b"HELO")

    def test_it_is_idle_as_ever(self):
        target = self.target(lambda connection: TcpEnd(connection).rest())
        self.start(target, WITH_PAYLOAD, tcp={"idle_timeout": "1s"})
        for number, front in enumerate(FRONTS, 1):
            client = self.end(front)
            self.assertEqual(client.rest(), (b"", RESET))
            self.assertEqual(target.wait_results(number)[-1], (b"", RESET))
            self.assertEqual(self.proxy.wait_events("flow", number)[-1]["end"], "idle_timeout")


class Ends(WithService):
    def ends(self, act, serve, placement, protocol="TCP"):
        """Each front's client does act(end); yields (what serve returned, how the flow ended)."""
        target = self.target(serve)
        self.start(target, placement, protocol)
        for number, front in enumerate(FRONTS, 1):
            client = self.end(front)
            wait_until("the target is connected", lambda: target.accepted == number)
            act(client)
            result = target.wait_results(number)[-1]
            client.close()
            yield result, self.proxy.wait_events("flow", number)[-1]

    def test_a_client_that_ends_without_a_word_is_introduced(self):
        def serve(connection):
            header = receive_header(connection)
            rest = TcpEnd(connection).rest()
            connection.sendall(b"so long")
            return header, rest

        def act(client):
            client.finish()
            self.assertEqual(client.rest(), (b"so long", CLEAN))
        for placement in PLACEMENTS:
            with self.subTest(placement=placement):
                for (header, rest), flow in self.ends(act, serve, placement):
                    self.assertEqual((header.destination[0], rest), ("127.0.0.1", (b"", CLEAN)))
                    self.assertEqual((flow["end"], flow["received_bytes"]), ("closed", "0"))

    def test_a_client_that_resets_without_a_word_is_a_reset(self):
        def serve(connection):
            return TcpEnd(connection).rest()
        for placement in PLACEMENTS:
            with self.subTest(placement=placement):
                for (data, end), flow in self.ends(lambda client: client.reset(), serve, placement):
                    self.assertEqual((flow["end"], end), ("client_reset", RESET))
                    self.assertIn(len(data), (0,) if placement == WITH_PAYLOAD else (0, 100))

    def test_a_target_that_resets_is_a_reset(self):
        def serve(connection):
            time.sleep(A_WHILE)  # the client has connected
            TcpEnd(connection).reset()
        for placement in PLACEMENTS:
            with self.subTest(placement=placement):
                for _, flow in self.ends(self.is_reset, serve, placement):
                    self.assertEqual(flow["end"], "target_reset")

    def is_reset(self, client):
        self.assertEqual(client.rest(), (b"", RESET))

    def test_a_target_that_ends_first_still_hears_the_client(self):
        def serve(connection):
            connection.shutdown(socket.SHUT_WR)
            return receive_header(connection), TcpEnd(connection).rest()

        def act(client):
            self.assertEqual(client.rest(), (b"", CLEAN))
            client.say_last(b"last words")
        for placement in PLACEMENTS:
            with self.subTest(placement=placement):
                for (_, rest), flow in self.ends(act, serve, placement):
                    self.assertEqual((rest, flow["end"]), ((b"last words", CLEAN), "closed"))


class TlsGroup(WithService):
    """The header goes in front of our hello, whatever the placement."""

    def introduced(self, talk):
        """At the target: the header in clear, then TLS."""
        context = server_context(certificates().leaf())

        def serve(connection):
            header = receive_header(connection)
            with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as secured:
                result = talk(secured)
                secured.unwrap()
            return header, result
        return serve

    def test_header_then_hello_then_bytes(self):
        def talk(secured):
            line = receive_line(secured)
            secured.sendall(line.upper() + b"\n")
            return line
        for placement in PLACEMENTS:
            with self.subTest(placement=placement):
                target = self.target(self.introduced(talk))
                self.start(target, placement, "TLS")
                for number, front in enumerate(FRONTS, 1):
                    client = self.connect(front)
                    client.sendall(b"ping\n")
                    self.assertEqual(receive_line(client), b"PING")
                    if front == "TLS":
                        client.unwrap()
                    client.close()
                    header, line = target.wait_results(number)[-1]
                    self.assertEqual((header.raw[12:16], line), (b"\x21\x11\0\x54", b"ping"))
                    flow = self.proxy.wait_events("flow", number)[-1]
                    self.assertEqual((flow["received_bytes"], flow["end"]), ("5", "closed"))
                    self.assertEqual(flow["target_ktls"], KTLS)

    def test_the_header_shares_a_segment_with_the_hello(self):
        target = self.target(lambda connection: connection.recv(4096))
        self.start(target, protocol="TLS")
        for number, front in enumerate(FRONTS, 1):
            self.connect(front)
            first = target.wait_results(number)[-1]
            self.assertEqual((first[:12], first[100:102]), (b"\r\n\r\n\0\r\nQUIT\n", b"\x16\x03"))

    def test_a_silent_client_hears_a_server_that_speaks_first(self):
        def talk(secured):
            secured.sendall(b"220 ready\n")
            return secured.recv(1)
        for placement in PLACEMENTS:
            with self.subTest(placement=placement):
                target = self.target(self.introduced(talk))
                self.start(target, placement, "TLS")
                for front in FRONTS:
                    client = self.end(front)
                    self.assertEqual(client.receive(10), b"220 ready\n")
                    client.finish()
                    self.assertEqual(client.rest(), (b"", CLEAN))

    def test_a_target_that_hangs_up_before_the_hello_is_told_apart(self):
        def hang_up(connection):
            connection.recv(1)  # else the worker might not have seen yet that it is connected
            TcpEnd(connection).reset()
        self.start(self.target(hang_up), protocol="TLS")
        for front in FRONTS:
            context = client_context() if front == "TLS" else None
            address, *end = exchange_of(self.ports[front], context=context)
            self.assertEqual(end, [b"", RESET])
            flow = self.proxy.flow_of(address)
            self.assertIn(flow["end"], ("target_handshake_failed", "target_reset"))


if __name__ == "__main__":
    harness.main()
