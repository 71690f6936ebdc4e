"""Promised: behind a proxy that sends the PROXY protocol's header the client is the one that the header
names: in the record, the access log, `tlsplice flows`, the choice of a sticky target and the header that goes
on to targets. HAProxy's headers of both versions are understood, in front of TLS and of plain bytes. Whoever
is trusted and sends none is refused, counted and named; others cannot pretend to be anybody."""

import socket
import ssl
import time
import unittest

import harness
from certificates import certificates
from harness import PATIENCE, Proxy, group, reserve_port, run_program, service, tcp_listener, tls_listener
from peers import (Target, client_context, echoed, receive_exactly, serve_echo, tcp_client, tls_client)
from proxy_headers import HaproxyInFront, receive_header

TRUST = {"accept_from": ["127.0.0.2/31", "::1"]}
CLIENT = "192.0.2.7"
LINE = f"PROXY TCP4 {CLIENT} 198.51.100.1 4711 443\r\n".encode()


def from_address(source, port):
    return socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))


class HaproxyIsUnderstood(unittest.TestCase):
    def test_of_both_versions_in_front_of_both_listeners(self):
        target = self.enterContext(Target(serve_echo))
        ports = {"TLS": reserve_port(), "TCP": reserve_port()}
        trust = {"accept_from": ["127.0.0.1"]}
        listeners = [tls_listener(ports["TLS"], certificates().leaf(), proxy_protocol=trust),
                     tcp_listener(ports["TCP"], proxy_protocol=trust)]
        with Proxy(service(listeners, [group(target)])) as proxy, \
                HaproxyInFront({kind: f"127.0.0.1:{port}" for kind, port in ports.items()}) as front:
            for kind in ports:
                for version in ("v1", "v2"):
                    with self.subTest(kind=kind, version=version):
                        with from_address("127.0.0.9", front.ports[kind, version]) as client:
                            address = client.getsockname()
                            if kind == "TLS":
                                client = client_context().wrap_socket(client, server_hostname="localhost")
                            with client:
                                echoed(client)
                        line = proxy.flow_of(address)
                        self.assertTrue(line["client"].startswith("127.0.0.9:"), line)


class TheClientIsTheNamedOne(unittest.TestCase):
    def setUp(self):
        self.port = reserve_port()

    def test_everywhere(self):
        heard = []

        def serve(connection):
            heard.append(receive_header(connection))
            return serve_echo(connection)
        target = self.enterContext(Target(serve))
        listener = tls_listener(self.port, certificates().leaf(), proxy_protocol=TRUST)
        log = {"file": "access.log", "load_balancer": "net/my-lb/50dc6c495c0c9188"}
        config = service([listener], [group(target, proxy_protocol_v2={"enabled": True})], access_log=log)
        with Proxy(config) as proxy:
            with from_address("127.0.0.2", self.port) as plain:
                plain.sendall(LINE)
                with client_context().wrap_socket(plain, server_hostname="localhost") as client:
                    echoed(client)
                    shown = run_program("flows", "-c", proxy.config_file, "--peer", CLIENT).stdout
                    self.assertIn(f"{CLIENT}:4711", shown)
            proxy.flow_of((CLIENT, 4711))
            self.assertEqual(heard[0].source, (CLIENT, 4711))
            written = proxy.folder / "access.log"
            harness.wait_until("the access log", written.read_text)
            self.assertIn(f" {CLIENT}:4711 ", written.read_text())

    def test_for_stickiness(self):
        targets = [self.enterContext(Target(serve_echo)) for _ in range(4)]
        listener = tcp_listener(self.port, proxy_protocol=TRUST)
        with Proxy(service([listener], [group(*targets, stickiness={"enabled": True})])) as proxy:
            for number in range(24):
                with from_address("127.0.0.2", self.port) as client:
                    client.sendall(f"PROXY TCP4 192.0.2.{number % 12} 198.51.100.1 {number} 443\r\n".encode())
                    echoed(client)
            chosen = {}
            for line in proxy.wait_events("flow", 24):
                chosen.setdefault(line["client"].partition(":")[0], set()).add(line["target"])
        self.assertEqual({len(targets) for targets in chosen.values()}, {1})
        self.assertGreater(len(set.union(*chosen.values())), 1)


class WhoMayNot(unittest.TestCase):
    def test_a_trusted_proxy_without_a_header_is_refused(self):
        port = reserve_port()
        listener = tls_listener(port, certificates().leaf(), proxy_protocol=TRUST, handshake_timeout="1s")
        with Proxy(service([listener], [group("127.0.0.1:9")])) as proxy:
            with proxy.counting(ProxyHeaderErrorCount=3, ClientTLSNegotiationErrorCount=0):
                with from_address("127.0.0.2", port) as plain, self.assertRaises(OSError):
                    client_context().wrap_socket(plain, server_hostname="localhost")
                with from_address("127.0.0.3", port) as silent:
                    self.assertEqual(silent.recv(1), b"")
                from_address("127.0.0.2", port).close()
            lines = proxy.wait_events("flow", 3, end="proxy_header_failed")
            details = sorted(line["detail"] for line in lines)
            self.assertEqual(details, [
                "no proxy protocol header: not in time, and this peer's connections must begin with one",
                "no proxy protocol header: the connection begins with something else",
                "no proxy protocol header: the connection ended before it"])

    def test_a_tcp_listener_has_the_same_limit(self):
        port = reserve_port()
        listener = tcp_listener(port, proxy_protocol=TRUST, handshake_timeout="1s")
        with Proxy(service([listener], [group("127.0.0.1:9")])) as proxy:
            began = time.monotonic()
            with from_address("127.0.0.2", port) as silent:
                self.assertEqual(silent.recv(1), b"")
            self.assertLess(time.monotonic() - began, 1 + harness.scaled(2, 8))
            [line] = proxy.wait_events("flow", end="proxy_header_failed")
            self.assertIn("not in time", line["detail"])

    def test_others_cannot_pretend(self):
        target, port, tls = self.enterContext(Target(serve_echo)), reserve_port(), reserve_port()
        listeners = [tcp_listener(port, proxy_protocol=TRUST),
                     tls_listener(tls, certificates().leaf(), proxy_protocol=TRUST)]
        with Proxy(service(listeners, [group(target)])) as proxy:
            with tcp_client(port) as client:
                client.sendall(LINE)
                self.assertEqual(receive_exactly(client, len(LINE)), LINE)
                address = client.getsockname()
            self.assertEqual(proxy.flow_of(address)["received_bytes"], str(len(LINE)))
            with tcp_client(tls) as client:
                client.sendall(LINE)
                with self.assertRaises((ssl.SSLError, OSError)):
                    client_context().wrap_socket(client, server_hostname="localhost")
            with tls_client(tls) as client:
                echoed(client)


if __name__ == "__main__":
    harness.main()
