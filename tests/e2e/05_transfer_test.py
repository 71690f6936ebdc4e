"""Promised: every byte arrives, once, in order, in both directions, whatever the size. Checked by moving
1 GiB up and 1 GiB down through a TLS listener, 256 MiB through each other pairing (TLS 1.3, TCP, TLS
targets), less with a CBC suite, both directions at once, past a reader that sleeps, and with curl; the
SHA-256 of what was sent and what arrived must agree, and so must the byte counts of log and counters."""

import hashlib
import os
import pathlib
import re
import select
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, scaled, service, tcp_listener, tls_listener
from peers import (Target, client_context, receive_exactly, receive_line, server_context, tcp_client,
                   tls_client)

MIB = 1 << 20
HTTP_OK = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
BLOCK = os.urandom(MIB)
LARGE, MEDIUM, SMALL = scaled(1024 * MIB, 32 * MIB), scaled(256 * MIB, 32 * MIB), scaled(64 * MIB, 16 * MIB)


def send_stream(connection, size):
    """Numbered blocks, so that a lost, doubled or moved one changes the digest; the digest."""
    digest = hashlib.sha256()
    for number in range(-(-size // MIB)):
        block = (struct.pack(">Q", number) + BLOCK[8:])[:size - number * MIB]
        digest.update(block)
        connection.sendall(block)
    return digest.hexdigest()


def receive_stream(connection, size, pause=0.0):
    digest, buffer, left = hashlib.sha256(), memoryview(bytearray(256 * 1024)), size
    while left:
        count = connection.recv_into(buffer, min(left, len(buffer)))
        if not count:
            raise AssertionError(f"ended {left} bytes before {size}")
        digest.update(buffer[:count])
        left -= count
        time.sleep(pause)
    return digest.hexdigest()


def exchange(connection, size):
    """Both directions at once, in one thread: a TLS connection has one owner. The digests, sent first."""
    connection.setblocking(False)
    blocks = ((struct.pack(">Q", number) + BLOCK[8:]) for number in range(size // MIB))
    sent, received, block, left = hashlib.sha256(), hashlib.sha256(), b"", size
    outgoing = size
    while left or outgoing:
        if outgoing and not block:
            block = memoryview(next(blocks))
            sent.update(block)
        moved = attempt(connection.send, block) if outgoing else 0
        block, outgoing = block[moved:], outgoing - moved
        data = attempt(connection.recv, min(left, 65536)) if left else b""
        if data:
            received.update(data)
            left -= len(data)
        elif not moved:
            wanted = ([connection] if left else [], [connection] if outgoing else [])
            select.select(*wanted, [], harness.PATIENCE)
    connection.settimeout(harness.PATIENCE)
    return sent.hexdigest(), received.hexdigest()


def attempt(operation, argument):
    """The outcome, or 0 when the connection is not ready; an early end of file is an error."""
    try:
        outcome = operation(argument)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0
    assert outcome, "the connection ended early"
    return outcome


def serve_transfer(connection):
    """One line says what: up N (take N bytes, answer their digest), down N (send N bytes), both N."""
    word, size = receive_line(connection).split()
    if word == b"both":
        return exchange(connection, int(size))
    if word == b"down":
        return send_stream(connection, int(size))
    digest = receive_stream(connection, int(size))
    connection.sendall(digest.encode() + b"\n")
    return digest


def serve_files(connection):
    """The little HTTP that curl needs: PUT answers the digest of the body, GET sends a body with a digest."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(connection, 1)
    if head.startswith(b"PUT"):
        size = int(re.search(rb"Content-Length: (\d+)", head)[1])
        digest = receive_stream(connection, size)
        connection.sendall(f"{HTTP_OK}Content-Length: 64\r\n\r\n{digest}".encode())
        return digest
    connection.sendall(f"{HTTP_OK}Content-Length: {SMALL}\r\n\r\n".encode())
    return send_stream(connection, SMALL)


class Transfer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tls13 = client_context(ssl.TLSVersion.TLSv1_3)
        cls.ports = {(front, back): reserve_port() for front in ("TLS", "TCP") for back in ("TLS", "TCP")}
        contexts = {"TCP": None, "TLS": server_context(certificates().leaf())}
        cls.targets = {kind: cls.enterClassContext(Target(serve_transfer, context))
                       for kind, context in contexts.items()}
        groups = [group(target, name=kind, protocol=kind) for kind, target in cls.targets.items()]
        listeners = [cls.listener(front, back, port) for (front, back), port in cls.ports.items()]
        cls.cbc_port, cls.file_port = reserve_port(), reserve_port()
        cls.files = cls.enterClassContext(Target(serve_files))
        groups.append(group(cls.files, name="files"))
        listeners += [tls_listener(cls.cbc_port, certificates().leaf(), name="cbc", forward="TCP"),
                      tls_listener(cls.file_port, certificates().leaf(), name="files", forward="files")]
        cls.proxy = cls.enterClassContext(Proxy(service(listeners, groups)))

    @staticmethod
    def listener(front, back, port):
        if front == "TCP":
            return tcp_listener(port, name=f"TCP-{back}", forward=back)
        return tls_listener(port, certificates().leaf(), name=f"TLS-{back}", forward=back,
                            ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06")

    def connect(self, front, back, context):
        if front == "TCP":
            return tcp_client(self.ports[front, back])
        return tls_client(self.ports[front, back], context)

    def up(self, client, size):
        client.sendall(f"up {size}\n".encode())
        digest = send_stream(client, size)
        self.assertEqual(receive_line(client).decode(), digest)

    def down(self, client, target, size, pause=0.0):
        before = len(target.results)
        client.sendall(f"down {size}\n".encode())
        digest = receive_stream(client, size, pause)
        self.assertEqual(target.wait_results(before + 1)[before], digest)

    def up_and_down(self, front, back, size, context=None, cipher="-"):
        target, start = self.targets[back], time.monotonic()
        with self.connect(front, back, context) as client:
            self.up(client, size)
            flow = self.finish(client)
        self.assertEqual(int(flow["received_bytes"]), len(f"up {size}\n") + size)
        self.assertEqual(int(flow["sent_bytes"]), 65)  # the digest and its newline
        self.assertEqual(flow["cipher"], cipher)
        with self.connect(front, back, context) as client:
            self.down(client, target, size)
            flow = self.finish(client)
        self.assertEqual(int(flow["sent_bytes"]), size)
        print(f"{2 * size / MIB / (time.monotonic() - start):.0f} MiB/s, ", end="", flush=True)

    def finish(self, client):
        address = client.getsockname()
        if isinstance(client, ssl.SSLSocket):
            client.unwrap()
        client.close()
        flow = self.proxy.flow_of(address)
        self.assertEqual(flow["end"], "closed")
        return flow

    def test_what_ends_an_upload_does_not_wait(self):
        """The kernel tells of a fast upload in large pieces only; its rest is less than one."""
        longest = 0.0
        for extra in range(1, 60000, 2500):
            with self.connect("TLS", "TCP", self.tls13) as client:
                size = 6 * MIB + extra
                client.sendall(f"up {size}\n".encode())
                digest = send_stream(client, size)
                sent = time.monotonic()
                self.assertEqual(receive_line(client).decode(), digest)
                longest = max(longest, time.monotonic() - sent)
        self.assertLess(longest, harness.PATIENCE / 4)

    def test_tls12_to_tcp(self):
        context = client_context(ssl.TLSVersion.TLSv1_2)
        self.up_and_down("TLS", "TCP", LARGE, context, "ECDHE-RSA-AES128-GCM-SHA256")

    def test_tls13_to_tcp(self):
        self.up_and_down("TLS", "TCP", MEDIUM, self.tls13, "TLS_AES_128_GCM_SHA256")

    def test_tls13_to_tls(self):
        self.up_and_down("TLS", "TLS", MEDIUM, self.tls13, "TLS_AES_128_GCM_SHA256")

    def test_tcp_to_tcp(self):
        before = self.proxy.counters()
        self.up_and_down("TCP", "TCP", MEDIUM)
        after = self.proxy.counters()
        spliced = after["SplicedBytes"] - before["SplicedBytes"]
        self.assertGreater(spliced, 2 * MEDIUM * 0.9)  # the promise: TCP to TCP never enters the process
        self.assertEqual(after["ProcessedBytes_TCP"] - before["ProcessedBytes_TCP"],
                         2 * MEDIUM + 65 + len(f"up {MEDIUM}\n") + len(f"down {MEDIUM}\n"))

    def test_tcp_to_tls(self):
        self.up_and_down("TCP", "TLS", MEDIUM)

    def test_cbc_suite(self):
        context = client_context(ssl.TLSVersion.TLSv1_2, "AES128-SHA")
        with tls_client(self.cbc_port, context) as client:
            self.up(client, SMALL)
        with tls_client(self.cbc_port, context) as client:
            self.down(client, self.targets["TCP"], SMALL)

    def test_both_directions_at_once(self):
        for front, back in self.ports:
            target = self.targets[back]
            before = len(target.results)
            with self.subTest(f"{front} to {back}"), self.connect(front, back, None) as client:
                client.sendall(f"both {SMALL}\n".encode())
                sent, received = exchange(client, SMALL)
                self.assertEqual(target.wait_results(before + 1)[before], (received, sent))

    def test_a_slow_reader_loses_nothing(self):
        size = scaled(16 * MIB, 8 * MIB)
        for front, back in self.ports:
            with self.subTest(f"{front} to {back}"), self.connect(front, back, None) as client:
                self.down(client, self.targets[back], size, pause=0.002)

    def test_curl_moves_files(self):
        url = f"https://localhost:{self.file_port}/file"
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "file"
            self.curl(url, "--output", file)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            self.assertEqual(file.stat().st_size, SMALL)
            self.assertEqual(self.files.wait_results(1)[0], digest)
            self.assertEqual(self.curl(url, "--upload-file", file), digest)

    def curl(self, url, *arguments):
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(harness.PATIENCE),
                   "--cacert", str(certificates().root), *map(str, arguments), url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    harness.main()
