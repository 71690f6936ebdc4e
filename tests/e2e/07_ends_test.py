"""Promised: ends are truthful in both directions. A half-close passes through while data goes on the
other way, a reset stays a reset, a FIN without close_notify is a truncation that never looks like a clean
end (a reset by default, a FIN with on_truncation = "fin"), a flow that idles too long is ended on both
sides. Checked for all four pairings of TLS and TCP on either side, under TLS 1.2 and 1.3, from both ends'
sockets, the log and the counters."""

import itertools
import os
import socket
import ssl
import threading
import time
import unittest

import harness
from certificates import certificates
from harness import PATIENCE, Proxy, group, reserve_port, service, tcp_listener, tls_listener
from peers import CLEAN, RESET, TcpEnd, TlsEnd, client_context, server_context, tcp_client

POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
TLS_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
FRONTS = [*TLS_VERSIONS, "TCP"]
PAIRINGS = list(itertools.product(FRONTS, ("TLS", "TCP")))
TLS_CLIENTS = [pair for pair in PAIRINGS if pair[0] != "TCP"]
TLS_TARGETS = [pair for pair in PAIRINGS if pair[1] == "TLS"]
BROKEN_RECORD = b"\x17\x03\x03\x00\x40" + bytes(64)  # decrypts under no key
MANY = bytes(range(256)) * 2000
BULK = bytes(range(256)) * (2000 if os.environ.get("VM_KERNEL") else 16000)


class Pairings:
    """A service with a listener for every pairing; connect() returns both ends of a new flow through it."""

    def __init__(self, test, **keys):
        self.targets = {back: test.enterContext(socket.create_server(("127.0.0.1", 0)))
                        for back in ("TLS", "TCP")}
        for target in self.targets.values():
            target.settimeout(PATIENCE)
        self.ports = {pair: reserve_port() for pair in itertools.product(("TLS", "TCP"), repeat=2)}
        listeners = [self.listener(*pair, port, keys) for pair, port in self.ports.items()]
        groups = [group("127.0.0.1:{}".format(target.getsockname()[1]), name=back, protocol=back)
                  for back, target in self.targets.items()]
        self.proxy = test.enterContext(Proxy(service(listeners, groups)))
        self.server = server_context(certificates().leaf())

    @staticmethod
    def listener(front, back, port, keys):
        keys = {"name": f"{front}-{back}", "forward": back, **keys}
        if front == "TCP":
            keys.pop("on_truncation", None)
            return tcp_listener(port, **keys)
        return tls_listener(port, certificates().leaf(), ssl_policy=POLICY, **keys)

    def connect(self, front, back):
        connection = tcp_client(self.ports["TCP" if front == "TCP" else "TLS", back])
        self.client_address = connection.getsockname()
        client = TcpEnd(connection) if front == "TCP" else \
            TlsEnd(connection, client_context(TLS_VERSIONS[front]))
        accepted, _ = self.targets[back].accept()
        target = TcpEnd(accepted) if back == "TCP" else TlsEnd(accepted, self.server, server_side=True)
        client.send(b"up")
        assert target.receive(2) == b"up"
        target.send(b"down")
        assert client.receive(4) == b"down"
        return client, target

    def flow(self):
        """The log line of the last connect()."""
        return self.proxy.flow_of(self.client_address)


class Ends(unittest.TestCase):
    keys = {}  # of every listener

    def setUp(self):
        self.pairings = Pairings(self, **self.keys)
        self.proxy = self.pairings.proxy

    def each(self, check, pairings=PAIRINGS):
        """check(client, target) on a new flow of every pairing."""
        for front, back in pairings:
            with self.subTest(f"{front} to {back}"):
                client, target = self.pairings.connect(front, back)
                try:
                    check(client, target)
                finally:
                    client.close()
                    target.close()

    def test_client_finishes_and_still_reads(self):
        def check(client, target):
            client.send(MANY)
            client.finish()
            self.assertEqual(target.rest(), (MANY, CLEAN))
            for part in (b"first", MANY, b"last"):
                target.send(part)
            target.finish()
            self.assertEqual(client.rest(), (b"first" + MANY + b"last", CLEAN))
            self.assert_clean_flow(received=2 + len(MANY), sent=13 + len(MANY))
        self.each(check)

    def test_target_finishes_and_still_reads(self):
        def check(client, target):
            target.send(MANY)
            target.finish()
            self.assertEqual(client.rest(), (MANY, CLEAN))
            for part in (b"first", MANY, b"last"):
                client.send(part)
            client.finish()
            self.assertEqual(target.rest(), (b"first" + MANY + b"last", CLEAN))
            self.assert_clean_flow(received=11 + len(MANY), sent=4 + len(MANY))
        self.each(check)

    def assert_clean_flow(self, received, sent):
        flow = self.pairings.flow()
        self.assertEqual(flow["end"], "closed")
        self.assertEqual((int(flow["received_bytes"]), int(flow["sent_bytes"])), (received, sent))

    def test_last_words_with_the_end_in_one_segment(self):
        def check(client, target):
            client.say_last(b"question")
            self.assertEqual(target.rest(), (b"question", CLEAN))
            target.say_last(b"answer")
            self.assertEqual(client.rest(), (b"answer", CLEAN))
            self.assert_clean_flow(received=10, sent=10)
        self.each(check)

    def test_a_client_that_closes_behind_its_end_has_closed(self):
        """What most clients do. That nobody is left to take our own close_notify makes it no reset."""
        def check(client, target):
            self.assert_close_is_closed(client, target)
        self.each(check)

    def test_a_target_that_closes_behind_its_end_has_closed(self):
        def check(client, target):
            self.assert_close_is_closed(target, client)
        self.each(check)

    def assert_close_is_closed(self, leaver, other):
        with self.proxy.counting(TCP_Client_Reset_Count=0, TCP_Target_Reset_Count=0, TCP_ELB_Reset_Count=0):
            leaver.say_last(b"bye")
            leaver.close()
            self.assertEqual(other.rest(), (b"bye", CLEAN))
            other.finish()
            self.assertEqual(self.pairings.flow()["end"], "closed")

    def test_client_reset_reaches_the_target(self):
        def check(client, target):
            with self.proxy.counting(TCP_Client_Reset_Count=1, TCP_Target_Reset_Count=0, TruncatedCount=0):
                client.reset()
                self.assert_raw_reset(target)
                self.assertEqual(self.pairings.flow()["end"], "client_reset")
        self.each(check)

    def test_target_reset_reaches_the_client(self):
        def check(client, target):
            with self.proxy.counting(TCP_Client_Reset_Count=0, TCP_Target_Reset_Count=1, TruncatedCount=0):
                target.reset()
                self.assert_raw_reset(client)
                self.assertEqual(self.pairings.flow()["end"], "target_reset")
        self.each(check)

    def test_a_reset_behind_a_bulk_transfer_is_still_one(self):
        """By then the direction splices, where it can."""
        def check(client, target):
            for sender, receiver, end in ((client, target, "client_reset"), (target, client, "target_reset")):
                if end == "target_reset":
                    client, target = self.pairings.connect(*self.pairing)
                    sender, receiver = target, client
                reader = threading.Thread(target=receiver.receive, args=(len(BULK),))
                reader.start()
                sender.send(BULK)
                reader.join(PATIENCE)
                time.sleep(0.2)
                sender.reset()
                self.assert_raw_reset(receiver)
                self.assertEqual(self.pairings.flow()["end"], end)
                receiver.close()
        for self.pairing in PAIRINGS:
            self.each(check, [self.pairing])

    def assert_raw_reset(self, end):
        """Looks below TLS, where a close_notify in front of the reset would show up as bytes."""
        self.assertEqual(TcpEnd(end.socket).rest(), (b"", RESET))

    def test_a_reset_behind_a_half_close_is_still_one(self):
        def check(client, target):
            client.finish()
            self.assertEqual(target.rest(), (b"", CLEAN))
            target.reset()
            self.assert_raw_reset(client)
            self.assertEqual(self.pairings.flow()["end"], "target_reset")
        self.each(check)

    def test_client_truncation_is_a_reset_for_the_target(self):
        def check(client, target):
            with self.proxy.counting(TruncatedCount=1, TCP_Client_Reset_Count=0):
                client.truncate()
                self.assert_raw_reset(target)
                self.assertEqual(self.pairings.flow()["end"], "client_truncated")
        self.each(check, TLS_CLIENTS)

    def test_target_truncation_is_a_reset_for_the_client(self):
        def check(client, target):
            with self.proxy.counting(TruncatedCount=1, TCP_Target_Reset_Count=0):
                target.truncate()
                self.assert_raw_reset(client)
                self.assertEqual(self.pairings.flow()["end"], "target_truncated")
        self.each(check, TLS_TARGETS)

    def test_a_fin_behind_close_notify_is_no_truncation(self):
        def check(client, target):
            with self.proxy.counting(TruncatedCount=0):
                client.finish()
                client.truncate()
                self.assertEqual(target.rest(), (b"", CLEAN))
                target.send(MANY)
                target.finish()
                self.assertEqual(client.rest(), (MANY, CLEAN))
                self.assertEqual(self.pairings.flow()["end"], "closed")
        self.each(check, TLS_CLIENTS)

    def test_a_broken_record_is_no_clean_end_either(self):
        def check(client, target):
            client.socket.sendall(BROKEN_RECORD)
            self.assert_raw_reset(target)
            self.assertEqual(self.pairings.flow()["end"], "client_error")
        self.each(check, TLS_CLIENTS)

    def test_a_broken_record_behind_a_good_one_in_one_segment(self):
        def check(client, target):
            client.socket.sendall(client.sealed(b"good") + BROKEN_RECORD)
            self.assertEqual(target.rest()[1], RESET)
            self.assertEqual(self.pairings.flow()["end"], "client_error")
        self.each(check, TLS_CLIENTS)


class TruncationAsFin(unittest.TestCase):
    def test_on_truncation_fin(self):
        pairings = Pairings(self, on_truncation="fin")
        for version in TLS_VERSIONS:
            with self.subTest(version), pairings.proxy.counting(TruncatedCount=1):
                client, target = pairings.connect(version, "TCP")
                client.send(MANY)
                client.truncate()
                self.assertEqual(target.rest(), (MANY, CLEAN))
                target.close()
                flow = pairings.flow()
                self.assertEqual((flow["end"], flow["detail"]), ("closed", "a FIN without close_notify"))
                client.close()


class Idle(unittest.TestCase):
    def test_an_idle_flow_is_ended_on_both_sides(self):
        pairings = Pairings(self, tcp={"idle_timeout": "1s"})
        for front, back in PAIRINGS:
            with self.subTest(f"{front} to {back}"), pairings.proxy.counting(IdleTimeoutCount=1):
                client, target = pairings.connect(front, back)
                self.assertEqual(target.rest(), (b"", RESET))
                self.assertEqual(client.rest(), (b"", RESET))
                flow = pairings.flow()
                self.assertEqual(flow["end"], "idle_timeout")
                self.assertTrue(900 <= int(flow["duration_ms"]) <= 8000, flow)
                client.close()
                target.close()

    def test_a_flow_with_traffic_in_one_direction_is_not_idle(self):
        pairings = Pairings(self, tcp={"idle_timeout": "2s"})
        flows = [pairings.connect(front, back) for front, back in PAIRINGS]
        for step in range(10):  # 5 s: each direction is silent for longer than the timeout, the flow never is
            for client, target in flows:
                sender, receiver = (client, target) if step < 5 else (target, client)
                sender.send(b"tick")
                self.assertEqual(receiver.receive(4), b"tick")
            time.sleep(0.5)
        self.assertEqual(pairings.proxy.events("flow"), [])
        for client, target in flows:
            client.finish()
            target.finish()
            self.assertEqual((client.rest()[1], target.rest()[1]), (CLEAN, CLEAN))
            client.close()
            target.close()


if __name__ == "__main__":
    harness.main()
