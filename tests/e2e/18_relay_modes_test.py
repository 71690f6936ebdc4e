"""Promised: relay = "splice", "uring-splice" and "copy" are as complete as "auto": for every pairing of TLS
and TCP ends every byte arrives whatever the sizes, small messages and bulk in turn; ends are as truthful as
ever; what can be spliced is, and what cannot is copied. A busy flow starves no other of its worker."""

import hashlib
import importlib
import os
import random
import subprocess
import sys
import threading
import time
import unittest

import harness
from harness import PATIENCE, Proxy, group, reserve_port, service, tcp_listener
from peers import Target, echoed, receive_exactly, tcp_client

_FLOOD = """
import socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
connection.settimeout(60)
block = bytes(4 << 20)
while True:
    connection.sendall(block)
"""
ends = importlib.import_module("07_ends_test")
IN_GUEST = "VM_KERNEL" in os.environ
ALTERNATIONS = 20 if IN_GUEST or harness.SANITIZED else 200
BULK = 150_000  # more than two reads of the relay


class SpliceEnds(ends.Ends):
    keys = {"relay": "splice"}


class UringSpliceEnds(ends.Ends):
    keys = {"relay": "uring-splice"}


class CopyEnds(ends.Ends):
    keys = {"relay": "copy"}


class Bytes(unittest.TestCase):
    def alternate(self, mode, front, back, pairings):
        """Small messages and bulk in turn, there and back."""
        client, target = pairings.connect(front, back)
        seed = random.Random(f"{mode} {front} {back}")
        sizes = [seed.randrange(1, 200) if i % 2 else seed.randrange(BULK) for i in range(ALTERNATIONS)]
        for size in sizes:
            block = seed.randbytes(size)
            self.pass_on(client, target, block)
            self.pass_on(target, client, block)
        client.finish()
        self.assertEqual(target.rest(), (b"", ends.CLEAN))
        target.finish()
        self.assertEqual(client.rest(), (b"", ends.CLEAN))
        flow = pairings.flow()
        self.assertEqual((int(flow["received_bytes"]), int(flow["sent_bytes"])),
                         (sum(sizes) + 2, sum(sizes) + 4))
        client.close()
        target.close()

    def pass_on(self, sender, receiver, block):
        received = []
        reader = threading.Thread(target=lambda: received.append(receiver.receive(len(block))))
        reader.start()
        sender.send(block)
        reader.join(PATIENCE)
        self.assertEqual(hashlib.sha256(received[0]).digest(), hashlib.sha256(block).digest())

    def test_small_messages_and_bulk_in_turn(self):
        for mode in ("auto", "splice", "uring-splice", "copy"):
            pairings = ends.Pairings(self, relay=mode)
            for front, back in ends.PAIRINGS:
                with self.subTest(mode=mode, front=front, back=back):
                    before = pairings.proxy.counters()
                    self.alternate(mode, front, back, pairings)
                    after = pairings.proxy.counters()
                    spliced = after["SplicedBytes"] - before["SplicedBytes"]
                    moved = after["ProcessedBytes"] - before["ProcessedBytes"]
                    self.check_spliced(mode, after["KtlsConnectionCount"] > 0, (front, back), spliced, moved)

    def check_spliced(self, mode, kernel_tls, pairing, spliced, moved):
        plain = pairing == ("TCP", "TCP")
        if mode == "copy" or not (plain or kernel_tls):
            self.assertEqual(spliced, 0)
        elif mode in ("splice", "uring-splice"):
            # Copied is what a splice left to a read, behind a control record.
            self.assertGreater(spliced, moved * 9 // 10)
        elif plain or pairing[1] == "TCP":
            self.assertGreater(spliced, 0)  # out of a plain socket, into any of the kernel's


def discard_or_echo(connection):
    """Reads for ever behind a "d", echoes behind an "e"."""
    kind = receive_exactly(connection, 1)
    while block := connection.recv(1 << 20):
        if kind == b"e":
            connection.sendall(block)


class Fairness(unittest.TestCase):
    """One worker; its busy flow has always more to read, so that it would never come to an end by itself."""

    def test_a_busy_flow_starves_nobody(self):
        for mode in ("auto", "splice", "uring-splice", "copy"):
            port = reserve_port()
            listener = tcp_listener(port, relay=mode)
            with self.subTest(mode), Target(discard_or_echo) as target, \
                    Proxy(service([listener], [group(target)], workers=1)):
                self.assertLess(self.slowest_message_beside_bulk(port), PATIENCE / 10)

    def slowest_message_beside_bulk(self, port):
        with tcp_client(port) as busy, tcp_client(port) as quiet:
            busy.sendall(b"d")
            quiet.sendall(b"e")
            self.assertTrue(echoed(quiet))
            flood = subprocess.Popen([sys.executable, "-c", _FLOOD, str(busy.fileno())],
                                     pass_fds=[busy.fileno()])
            try:
                time.sleep(0.5)
                slowest = max(self.seconds_of_a_message(quiet) for _ in range(50))
                self.assertIsNone(flood.poll(), "the flood ended")
            finally:
                flood.kill()
                flood.wait()
        return slowest

    def seconds_of_a_message(self, connection):
        began = time.monotonic()
        self.assertTrue(echoed(connection))
        return time.monotonic() - began


if __name__ == "__main__":
    harness.main()
