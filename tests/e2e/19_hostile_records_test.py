"""Promised: no record that a client sends after the handshake stops a worker, wastes its time or turns into a
clean end. What the RFC allows (empty and padded records, records in single bytes, KeyUpdates, an end in one
segment with the Finished) works in every relay mode; what it forbids ends the flow as the client's error,
with a reset for the target. The same in user space and with the record layer in the kernel, where the tests
of tests/vm run this."""

import os
import pathlib
import socket
import threading
import time
import unittest

import harness
from certificates import certificates
from harness import PATIENCE, Proxy, group, process_status, reserve_port, service, tls_listener
from peers import ALERT, CLEAN, RESET, TcpEnd, tcp_client
from records import ALERT as ALERT_RECORD
from records import CLOSE_NOTIFY, DATA, HANDSHAKE, HEARTBEAT, LateEnd, RecordEnd, key_update

POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
MODES = ("auto", "splice", "uring-splice", "copy")
_KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
IN_KERNEL = os.path.exists("/proc/net/tls_stat")  # then every suite of this policy moves into it
CAN_CHANGE_KEYS = _KERNEL >= (6, 14) or not IN_KERNEL
PIPE_LIMIT = pathlib.Path("/proc/sys/fs/pipe-user-pages-soft")
TO_STALL = bytes(range(256)) * 256 * 640  # 40 MiB, more than all buffers between client and target hold
BULK = bytes(range(256)) * 80


class HostileRecords(unittest.TestCase):
    def setUp(self):
        self.ports = {mode: reserve_port() for mode in MODES}
        self.target = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.target.settimeout(PATIENCE)
        listeners = [tls_listener(port, certificates().leaf(), name=mode, relay=mode, ssl_policy=POLICY)
                     for mode, port in self.ports.items()]
        address = "127.0.0.1:{}".format(self.target.getsockname()[1])
        self.proxy = self.enterContext(Proxy(service(listeners, [group(address)], workers=1)))

    def connect(self, mode, make=RecordEnd, **options):
        connection = tcp_client(self.ports[mode])
        for option, value in options.items():
            connection.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client_address = connection.getsockname()
        client = make(connection)
        return client, TcpEnd(self.target.accept()[0]) if make is RecordEnd else None

    def each(self, check, modes=MODES, **options):
        for mode in modes:
            with self.subTest(mode):
                client, target = self.connect(mode, **options)
                check(client, target)
                client.close()
                target.close()

    def flow(self):
        return self.proxy.flow_of(self.client_address)

    def assert_goes_on(self, client, target):
        client.send(b"still")
        self.assertEqual(target.receive(5), b"still")
        target.send(b"here")
        self.assertEqual(client.receive(4), b"here")

    def assert_closes(self, client, target):
        client.finish()
        self.assertEqual(target.rest(), (b"", CLEAN))
        target.finish()
        self.assertEqual(client.rest(), (b"", CLEAN))
        self.assertEqual(self.flow()["end"], "closed")

    def assert_client_error(self, target, expected=b""):
        """The target gets what came before, perhaps less of it, and a reset."""
        received, end = target.rest()
        self.assertTrue(expected.startswith(received), received)
        self.assertEqual(end, RESET)
        self.assertEqual(self.flow()["end"], "client_error")
        self.assertNotEqual(self.flow()["detail"], "-")

    def test_empty_and_padded_records(self):
        def check(client, target):
            for _ in range(5):
                client.send_record(DATA, b"")
            client.send_record(DATA, b"one", padding=200)
            self.assertEqual(target.receive(3), b"one")
            client.send_record(DATA, b"", padding=1000)
            client.send_record(DATA, b"two")
            client.send_record(DATA, bytes(16000), padding=380)
            self.assertEqual(target.receive(16003), b"two" + bytes(16000))
            self.assert_goes_on(client, target)
            self.assert_closes(client, target)
        self.each(check)

    def test_an_empty_record_in_front_of_the_end(self):
        def check(client, target):
            sealed = [client.sealer.seal(*record) for record in
                      ((DATA, b"x"), (DATA, b""), (DATA, b""), (DATA, b"y"), (ALERT_RECORD, CLOSE_NOTIFY))]
            client.socket.sendall(b"".join(sealed))
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(target.rest(), (b"xy", CLEAN))
            target.send(b"z")
            target.finish()
            self.assertEqual(client.rest(), (b"z", CLEAN))
            self.assertEqual(self.flow()["end"], "closed")
        self.each(check)

    def test_a_record_in_single_bytes(self):
        def check(client, target):
            for byte in client.sealer.seal(DATA, b"drop by drop"):
                client.socket.sendall(bytes([byte]))
                time.sleep(0.001)
            self.assertEqual(target.receive(12), b"drop by drop")
            self.assert_closes(client, target)
        self.each(check)

    def test_half_a_record_keeps_no_cpu_busy(self):
        def check(client, target):
            sealed = client.sealer.seal(DATA, b"in two halves")
            client.socket.sendall(sealed[:20])
            time.sleep(0.2)
            before, began = self.cpu_seconds(), time.monotonic()
            time.sleep(2)
            busy = (self.cpu_seconds() - before) / (time.monotonic() - began)
            self.assertLess(busy, 0.3)
            client.socket.sendall(sealed[20:])
            self.assertEqual(target.receive(13), b"in two halves")
        self.each(check)

    def cpu_seconds(self):
        (worker,) = self.proxy.workers().values()
        fields = pathlib.Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_the_end_in_one_segment_with_the_finished(self):
        for mode in MODES:
            with self.subTest(mode):
                client, _ = self.connect(mode, LateEnd)
                client.send_with_finished(client.sealer.seal(DATA, b"question")
                                          + client.sealer.seal(ALERT_RECORD, CLOSE_NOTIFY))
                client.socket.shutdown(socket.SHUT_WR)
                target = TcpEnd(self.target.accept()[0])
                self.assertEqual(target.rest(), (b"question", CLEAN))
                target.say_last(b"answer")
                self.assertEqual(client.rest(), (b"answer", CLEAN))
                self.assertEqual(self.flow()["end"], "closed")
                client.close()
                target.close()

    def test_damage_in_mid_stream(self):
        def check(client, target):
            client.send(b"good")
            self.assertEqual(target.receive(4), b"good")
            sealed = bytearray(client.sealer.seal(DATA, b"bad"))
            sealed[-1] ^= 1
            client.socket.sendall(bytes(sealed))
            self.assert_client_error(target)
        self.each(check)

    def test_an_oversized_record(self):
        def check(client, target):
            client.socket.sendall(b"\x17\x03\x03\x45\x00" + bytes(0x4500))
            self.assert_client_error(target)
        self.each(check)

    def test_plaintext_after_the_handshake(self):
        def check(client, target):
            client.send(b"good")
            client.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assert_client_error(target, b"good")
        self.each(check)

    def test_records_that_have_no_place_here(self):
        """They are answered with an alert: unexpected_message."""
        for kind, body in ((HEARTBEAT, b"heart"), (HANDSHAKE, b"\1\0\0\1x"), (HANDSHAKE, b"\x18\0\0\1\5")):
            def check(client, target, kind=kind, body=body):
                client.send_record(kind, body)
                self.assertIn(client.rest()[1], (ALERT, RESET))
                self.assert_client_error(target)
            with self.subTest(kind=kind):
                self.each(check, ("auto", "splice"))

    def test_a_fatal_alert(self):
        def check(client, target):
            client.send_record(ALERT_RECORD, b"\x02\x50")
            self.assert_client_error(target)
        self.each(check)

    def test_a_key_update(self):
        for requested in (False, True):
            def check(client, target, requested=requested):
                client.send(b"old")
                client.update_key(requested)
                if CAN_CHANGE_KEYS:
                    client.send(b"new")
                    self.assertEqual(target.receive(6), b"oldnew")
                    self.assert_goes_on(client, target)
                    client.update_key(requested)
                    self.assert_goes_on(client, target)
                    self.assert_closes(client, target)
                else:
                    self.assertIn(client.rest()[1], (ALERT, RESET))
                    self.assert_client_error(target, b"old")
                    self.assertIn("KeyUpdate", self.flow()["detail"])
            with self.subTest(requested=requested):
                self.each(check)

    def test_a_flood_of_key_updates(self):
        def check(client, target):
            updates = bytearray()
            for _ in range(200):
                updates += client.sealer.seal(HANDSHAKE, key_update())
                client.sealer.next_key()
            client.socket.sendall(updates + client.sealer.seal(DATA, b"late"))
            self.assert_client_error(target)
            reason = "more KeyUpdates than 32 a second" if CAN_CHANGE_KEYS else "a KeyUpdate, which"
            self.assertIn(reason, self.flow()["detail"])
        self.each(check, ("auto", "splice"))

    def test_tiny_socket_buffers(self):
        def check(client, target):
            target.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            received = []
            reader = threading.Thread(target=lambda: received.append(target.receive(len(BULK))))
            reader.start()
            client.send(BULK)
            reader.join(PATIENCE)
            self.assertTrue(received == [BULK])
            sender = threading.Thread(target=target.send, args=(BULK,))
            sender.start()
            self.assertTrue(client.receive(len(BULK)) == BULK)
            sender.join(PATIENCE)
            self.assert_closes(client, target)
        self.each(check, SO_RCVBUF=1, SO_SNDBUF=1)

    @unittest.skipUnless("VM_KERNEL" in os.environ, "changes a limit of the whole machine: only in a guest")
    def test_pipes_that_shrink(self):
        before = PIPE_LIMIT.read_text()
        self.addCleanup(PIPE_LIMIT.write_text, before)
        PIPE_LIMIT.write_text("4")
        self.test_tiny_socket_buffers()

    def test_a_target_that_stops_reading(self):
        def check(client, target):
            (worker,) = self.proxy.workers().values()
            sent = [0]

            def send():
                for start in range(0, len(TO_STALL), 16384):
                    client.send(TO_STALL[start:start + 16384])
                    sent[0] = start
            sender = threading.Thread(target=send)
            sender.start()
            self.wait_for_standstill(lambda: sent[0])
            self.assertTrue(sender.is_alive(), "everything fitted into buffers: nobody was stopped")
            held = int(process_status(worker)["VmRSS"].split()[0])
            before = self.cpu_seconds()
            time.sleep(1)
            self.assertLess(self.cpu_seconds() - before, 0.3)
            self.assertLess(int(process_status(worker)["VmRSS"].split()[0]) - held, 4096)
            self.assertTrue(target.receive(len(TO_STALL)) == TO_STALL)
            sender.join(PATIENCE)
            self.assert_closes(client, target)
        self.each(check, ("auto", "splice"))


    @staticmethod
    def wait_for_standstill(progress):
        """Until nothing has moved for a second."""
        last, since = progress(), time.monotonic()
        while time.monotonic() - since < 1:
            time.sleep(0.05)
            if progress() != last:
                last, since = progress(), time.monotonic()


class KeyLimit(unittest.TestCase):
    """key_update_after, which a test can reach."""

    def test_our_own_key_update(self):
        port = reserve_port()
        listener = tls_listener(port, certificates().leaf(), ssl_policy=POLICY)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = "127.0.0.1:{}".format(listening.getsockname()[1])
            config = service([listener], [group(address)], key_update_after=64)
            with Proxy(config) as proxy:
                client = RecordEnd(tcp_client(port))
                address = client.socket.getsockname()
                target = TcpEnd(listening.accept()[0])
                passed = self.passed(client, target)
                if CAN_CHANGE_KEYS:
                    self.assertEqual(passed, 300)
                    client.finish()
                    target.finish()
                    self.assertEqual(proxy.flow_of(address)["end"], "closed")
                    proxy.wait_counters(KeyUpdateSentCount=4, KeyLimitErrorCount=0)
                else:
                    self.assertEqual(passed, 64)
                    flow = proxy.flow_of(address)
                    self.assertEqual(flow["end"], "client_error")
                    self.assertIn("key_update_after", flow["detail"])
                    proxy.wait_counters(KeyUpdateSentCount=0, KeyLimitErrorCount=1)
                client.close()
                target.close()

    def passed(self, client, target):
        """How many words of one record each went through."""
        for count in range(300):
            word = b"%4d" % count
            try:
                target.send(word)
                if client.receive(4) != word:
                    return count
            except (OSError, AssertionError):
                return count
        return 300


if __name__ == "__main__":
    harness.main()
