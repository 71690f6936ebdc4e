"""Promised: TLS of other houses works at either end of a flow. Clients: openssl, GnuTLS, curl, for TLS 1.2
and 1.3 with every cipher that a policy has and the kernel knows. Targets: openssl, GnuTLS, Python. What
arrives is what was sent, in both directions, by its digest; where the kernel has TLS, it says itself that it
encrypts and decrypts that connection. A peer's KeyUpdate is obeyed, by a kernel that can; else the flow ends
with an alert and says so."""

import contextlib
import hashlib
import os
import pathlib
import re
import ssl
import tempfile
import threading
import unittest

import harness
from certificates import certificates
from foreign import (CIPHERS, Conversation, ForeignServer, curl, exchange, gnutls_cli, gnutls_serv,
                     kernel_word, payload, rekeys, s_client, s_server, suite)
from harness import KERNEL_TLS, PATIENCE, Proxy, group, reserve_port, service, tls_listener
from peers import Target, client_context, receive_exactly, serve_echo, server_context, tls_client

POLICY = "ELBSecurityPolicy-TLS13-1-0-2021-06"
GUEST = os.environ.get("VM_KERNEL")
SIZE = 300_000 if GUEST else harness.scaled(3_000_000, 300_000)
SUITES = [("1.3", "AES-128-GCM"), ("1.3", "AES-256-GCM"), ("1.3", "CHACHA20"),
          ("1.2", "AES-128-GCM"), ("1.2", "AES-256-GCM")]  # no policy has TLS 1.2 with ChaCha20
KERNEL_REKEYS = KERNEL_TLS and "TlsRxRekeyOk" in pathlib.Path("/proc/net/tls_stat").read_text()


def digest(data):
    return hashlib.sha256(data).hexdigest()


class InKernel:
    """Checks of the kernel's own word; nothing where it has no TLS."""

    def expect_kernel(self, word, version, cipher):
        if KERNEL_TLS:
            told = tuple(word.get(name) for name in ("version", "rxconf", "txconf"))
            self.assertEqual(told, (version, "sw", "sw"), word)
            self.assertIn(word.get("cipher"), (CIPHERS[cipher][3], CIPHERS[cipher][2].lower()), word)
        else:
            self.assertEqual(word, {})

    def expect_flow(self, flow, side, protocol=None, cipher=None):
        self.assertEqual(flow["end"], "closed", flow)
        self.assertEqual(flow[f"{side}_ktls"], "kernel" if KERNEL_TLS else "no_kernel_tls", flow)
        if protocol:
            self.assertEqual((flow["protocol"], flow["cipher"]), (f"TLSv{protocol}", cipher), flow)


class Clients(InKernel, unittest.TestCase):
    def setUp(self):
        self.port = reserve_port()
        self.upload, self.reply = payload(SIZE), payload(SIZE)

    def received(self, connection):
        """At the target: takes the upload, asks the kernel about the connection of the client, answers."""
        got = receive_exactly(connection, len(self.upload))
        word = kernel_word(f"sport = :{self.port}")
        connection.sendall(self.reply)
        assert connection.recv(1) == b"", "more than was sent"
        return digest(got), word

    def received_http(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        assert f"content-length: {len(self.upload)}\r\n".encode() in head.lower(), head
        got = receive_exactly(connection, len(self.upload))
        word = kernel_word(f"sport = :{self.port}")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.reply) + self.reply)
        assert connection.recv(1) == b"", "a second request"
        return digest(got), word

    def each_suite(self, serve, talk):
        """`talk(version, cipher)` is the client's part; what it returns must be the reply."""
        listener = tls_listener(self.port, certificates().leaf(), ssl_policy=POLICY)
        with Target(serve) as target, Proxy(service([listener], [group(target)])) as proxy:
            for count, (version, cipher) in enumerate(SUITES, 1):
                with self.subTest(version=version, cipher=cipher):
                    self.assertEqual(digest(talk(version, cipher)), digest(self.reply))
                    result = target.wait_results(count)[-1]
                    self.assertNotIsInstance(result, Exception, result)
                    self.assertEqual(result[0], digest(self.upload))
                    self.expect_kernel(result[1], version, cipher)
                    flow = proxy.wait_events("flow", count)[-1]
                    self.expect_flow(flow, "client", version, suite(version, cipher))

    def test_openssl(self):
        self.each_suite(self.received, lambda version, cipher: exchange(
            s_client(self.port, version, cipher), self.upload, len(self.reply)))

    def test_gnutls(self):
        self.each_suite(self.received, lambda version, cipher: exchange(
            gnutls_cli(self.port, version, cipher), self.upload, len(self.reply)))

    def test_curl(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.upload)
            file.flush()
            self.each_suite(self.received_http, lambda version, cipher: exchange(
                curl(self.port, version, cipher, file.name), b"", len(self.reply)))


class Targets(InKernel, unittest.TestCase):
    """Targets are met under ELBSecurityPolicy-2016-08, the client role in TLS 1.2 at most: AES-GCM, no
    ChaCha20, no TLS 1.3."""

    def setUp(self):
        self.port = reserve_port()

    def flow_to(self, target, talk, cipher, proxys_port=None):
        """One client flow to a TLS target; `talk(client)` is the client's part. A target on a port that the
        kernel chose is not the only one with that number: proxys_port() tells the port of the other end."""
        listener = tls_listener(self.port, certificates().leaf(), ssl_policy=POLICY)
        target_port = target.address.rpartition(":")[2]
        with Proxy(service([listener], [group(target, protocol="TLS")])) as proxy:
            with tls_client(self.port, client_context(ssl.TLSVersion.TLSv1_3)) as client:
                talk(client)
                from_port = f" and sport = :{proxys_port()}" if proxys_port else ""
                self.expect_kernel(kernel_word(f"dport = :{target_port}{from_port}"), "1.2", cipher)
                with contextlib.suppress(OSError):
                    client.unwrap()
                address = client.getsockname()
            self.expect_flow(proxy.flow_of(address), "target")

    def echo(self, client):
        data = payload(SIZE)
        back = hashlib.sha256()
        for begin in range(0, len(data), 7700):
            piece = data[begin:begin + 7700]
            client.sendall(piece)
            back.update(receive_exactly(client, len(piece)))
        self.assertEqual(back.hexdigest(), digest(data))

    def test_openssl(self):
        for cipher in ("AES-128-GCM", "AES-256-GCM"):
            upload, reply = payload(SIZE), payload(SIZE)
            with self.subTest(cipher), ForeignServer(s_server(certificates().leaf(), cipher)) as server:
                got = []

                def talk(client):
                    client.sendall(upload[:100])  # it reads its input only once there is a connection
                    feeder = threading.Thread(target=server.feed, args=(reply,))
                    reader = threading.Thread(
                        target=lambda: got.append(server.process.stdout.read(len(upload))))
                    feeder.start()
                    reader.start()
                    self.assertEqual(digest(receive_exactly(client, len(reply))), digest(reply))
                    client.sendall(upload[100:])
                    feeder.join(PATIENCE)
                    reader.join(PATIENCE)
                self.flow_to(server, talk, cipher)
                self.assertEqual(digest(got[0]), digest(upload))

    def test_gnutls(self):
        for cipher in ("AES-128-GCM", "AES-256-GCM"):
            with self.subTest(cipher), \
                 ForeignServer(gnutls_serv(certificates().leaf(), "1.2", cipher)) as server:
                self.flow_to(server, self.echo, cipher)

    def test_python(self):
        for cipher in ("AES-128-GCM", "AES-256-GCM"):
            context = server_context(certificates().leaf(), ssl.TLSVersion.TLSv1_2, suite("1.2", cipher))
            peers = []

            def serve(connection, peers=peers):
                peers.append(connection.getpeername()[1])
                return serve_echo(connection)
            with self.subTest(cipher), Target(serve, context) as target:
                self.flow_to(target, self.echo, cipher, lambda peers=peers: peers[-1])

    def test_one_of_tls_1_3_alone_is_refused(self):
        listener = tls_listener(self.port, certificates().leaf(), ssl_policy=POLICY)
        with ForeignServer(gnutls_serv(certificates().leaf(), "1.3", "AES-128-GCM")) as server, \
             Proxy(service([listener], [group(server, protocol="TLS")])) as proxy:
            with self.assertRaises((OSError, AssertionError)):
                with tls_client(self.port) as client:
                    client.sendall(b"ping")
                    receive_exactly(client, 1)
            self.assertEqual(proxy.wait_events("flow")[0]["end"], "target_handshake_failed")


class KeyUpdates(InKernel, unittest.TestCase):
    """A client that changes its key in mid-flow, alone or asking for the same from the other side."""

    def setUp(self):
        self.port = reserve_port()

    def flow(self, command, change, both):
        """Says something before and after three changes of key. `both`: the proxy has to change its own."""
        listener = tls_listener(self.port, certificates().leaf(), ssl_policy=POLICY)
        with Target(serve_echo) as target, Proxy(service([listener], [group(target)])) as proxy:
            received, sent = rekeys()
            with Conversation(command(self.port)) as client:
                client.say("before the change")
                client.wait_for("before the change")
                self.expect_kernel(kernel_word(f"sport = :{self.port}"), "1.3", "AES-128-GCM")
                if KERNEL_TLS and not KERNEL_REKEYS:
                    return self.expect_an_alert(proxy, client, change)
                for number in range(3):
                    change(client, number)
                    client.say(f"after change {number}")
                    client.wait_for(f"after change {number}")
                client.say("some more")
                client.wait_for("some more")
            self.expect_flow(proxy.wait_events("flow")[0], "client", "1.3", "TLS_AES_128_GCM_SHA256")
            if KERNEL_REKEYS:
                self.assertEqual(rekeys(), (received + 3, sent + (3 if both else 0)))

    def expect_an_alert(self, proxy, client, change):
        change(client, 0)
        client.say("after the change")
        flow = proxy.wait_events("flow")[0]
        self.assertEqual((flow["end"], flow["client_ktls"]), ("client_error", "kernel"), flow)
        said = re.compile("alert", re.IGNORECASE)
        harness.wait_until(lambda: f"an alert: {client.output()}", lambda: said.search(client.output()))

    def openssl(self, letter):
        def change(client, number):
            client.say(letter)
            harness.wait_until("s_client has done it",
                               lambda: client.output().count("KEYUPDATE") == number + 1)
        return change

    def s_client_in_conversation(self, port):
        return ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-ciphersuites",
                "TLS_AES_128_GCM_SHA256"]

    def gnutls_in_conversation(self, port):
        return gnutls_cli(port, "1.3", "AES-128-GCM", "--inline-commands")

    def test_openssl_changes_its_own(self):
        self.flow(self.s_client_in_conversation, self.openssl("k"), both=False)

    def test_openssl_asks_for_both(self):
        self.flow(self.s_client_in_conversation, self.openssl("K"), both=True)

    def test_gnutls_changes_its_own(self):
        self.flow(self.gnutls_in_conversation, lambda client, _: client.say("^rekey1^"), both=False)

    def test_gnutls_asks_for_both(self):
        self.flow(self.gnutls_in_conversation, lambda client, _: client.say("^rekey^"), both=True)


if __name__ == "__main__":
    harness.main()
