"""Promised: a target that refuses leads to the next one, once; when none answers the client gets a reset,
never a clean end, and the log and the counters say why; a target that hangs costs no more than
connect_timeout. Checked with closed ports, a listener whose queue is full, and TLS targets that are
silent, plaintext, too new or very old."""

import socket
import ssl
import time
import unittest
import warnings

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, scaled, service, tcp_listener, tls_listener
from peers import (CLEAN, RESET, Hanging, Target, client_context, echoed, exchange_of, serve_echo,
                   server_context, tcp_client, tls_client)


def dead():
    """An address that refuses: the port is reserved, and nobody listens."""
    return f"127.0.0.1:{reserve_port()}"


class Targets(unittest.TestCase):
    def start(self, *targets, **keys):
        """A TLS and a TCP listener in front of these targets."""
        self.ports = {"TLS": reserve_port(), "TCP": reserve_port()}
        listeners = [tls_listener(self.ports["TLS"], certificates().leaf()), tcp_listener(self.ports["TCP"])]
        self.proxy = self.enterContext(Proxy(service(listeners, [group(*targets, **keys)])))

    def connect(self, front):
        return tls_client(self.ports[front]) if front == "TLS" else tcp_client(self.ports[front])

    def failed_flow(self, front):
        """A client must be reset without having received anything; its log line."""
        context = client_context() if front == "TLS" else None
        address, data, end = exchange_of(self.ports[front], context=context)
        self.assertEqual((data, end), (b"", RESET))
        flow = self.proxy.flow_of(address)
        self.assertEqual(flow["sent_bytes"], "0")
        return flow

    def test_a_dead_target_leads_to_the_next(self):
        live = self.enterContext(Target(serve_echo))
        self.start(dead(), live)
        for front in ("TLS", "TCP"):
            for _ in range(20):
                with self.connect(front) as client:
                    self.assertTrue(echoed(client))
        flows = self.proxy.wait_events("flow", 40)
        self.assertEqual({flow["target"] for flow in flows}, {live.address})
        # Half of the flows hash to the dead one; that none of 40 does has probability 2^-40.
        errors = self.proxy.counters()["TargetConnectionErrorCount"]
        self.assertTrue(1 <= errors < 40, f"{errors} refused connections")

    def test_only_once(self):
        """Two of three are dead: a third of the flows meet both, and end."""
        live = self.enterContext(Target(serve_echo))
        self.start(dead(), dead(), live)
        outcomes = [exchange_of(self.ports["TCP"])[1:] for _ in range(60)]
        served, refused = outcomes.count((b"ping\n", CLEAN)), outcomes.count((b"", RESET))
        self.assertEqual(served + refused, 60)
        flows = self.proxy.wait_events("flow", 60)
        self.assertEqual(sum(1 for flow in flows if flow["end"] == "target_refused"), refused)
        self.assertGreater(refused, 0, "more than one further target was tried")
        self.assertGreater(served, refused / 2)

    def test_all_targets_dead(self):
        self.start(dead(), dead())
        for front in ("TLS", "TCP"):
            with self.subTest(front), self.proxy.counting(TargetConnectionErrorCount=2):
                flow = self.failed_flow(front)
                self.assertEqual(flow["end"], "target_refused")
        self.proxy.wait_counters(ActiveFlowCount=0)

    def test_one_dead_target_alone(self):
        self.start(dead())
        with self.proxy.counting(TargetConnectionErrorCount=1):
            self.assertEqual(self.failed_flow("TLS")["end"], "target_refused")

    def test_a_hanging_target_costs_connect_timeout(self):
        self.start(Hanging(self), connect_timeout="1s")
        for front in ("TLS", "TCP"):
            start = time.monotonic()
            with self.subTest(front), self.proxy.counting(TargetConnectionErrorCount=1):
                flow = self.failed_flow(front)
                self.assertEqual(flow["end"], "target_timeout")
                self.assertTrue(0.9 <= time.monotonic() - start <= scaled(4, 15))
                self.assertTrue(900 <= int(flow["duration_ms"]) <= scaled(4000, 15000), flow)

    def test_a_target_that_never_answers_the_handshake(self):
        silent = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.start("127.0.0.1:{}".format(silent.getsockname()[1]), protocol="TLS", connect_timeout="1s")
        for front in ("TLS", "TCP"):
            start = time.monotonic()
            with self.subTest(front), self.proxy.counting(TargetTLSNegotiationErrorCount=1):
                flow = self.failed_flow(front)
                self.assertIn(flow["end"], ("target_handshake_failed", "target_timeout"))
                self.assertNotIn(flow.get("detail", "-"), ("", "-"), flow)
                self.assertTrue(0.9 <= time.monotonic() - start <= scaled(13, 30))

    def test_a_tls_target_that_speaks_plaintext(self):
        target = self.enterContext(Target(lambda c: c.sendall(b"220 mail.example ESMTP\r\n" * 20)))
        self.start(target, protocol="TLS")
        for front in ("TLS", "TCP"):
            with self.subTest(front), self.proxy.counting(TargetTLSNegotiationErrorCount=1):
                flow = self.failed_flow(front)
                self.assertEqual(flow["end"], "target_handshake_failed")
                self.assertNotIn(flow.get("detail", "-"), ("", "-"), flow)

    def test_a_target_that_wants_tls13_only(self):
        """2016-08 ends at TLS 1.2: the two have nothing in common."""
        context = server_context(certificates().leaf(), ssl.TLSVersion.TLSv1_3)
        self.start(self.enterContext(Target(serve_echo, context)), protocol="TLS")
        with self.proxy.counting(TargetTLSNegotiationErrorCount=1):
            self.assertEqual(self.failed_flow("TCP")["end"], "target_handshake_failed")

    def test_an_old_target_with_tls10(self):
        """2016-08 begins at TLS 1.0."""
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context = server_context(certificates().leaf(), ssl.TLSVersion.TLSv1, "AES128-SHA:@SECLEVEL=0")
        target = self.enterContext(Target(serve_echo, context))
        self.start(target, protocol="TLS")
        for front in ("TLS", "TCP"):
            with self.subTest(front), self.connect(front) as client:
                self.assertTrue(echoed(client, b"still alive\n"))


if __name__ == "__main__":
    harness.main()
