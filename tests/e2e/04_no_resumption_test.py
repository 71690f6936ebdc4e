"""Promised, by the document: no session resumption and no renegotiation, for client or target
connections; and no compression, no early data. Checked with openssl s_client (reconnecting, bringing a
saved session, typing R), with sessions that another server made, and on the wire: no ticket is sent, none
is asked of a target."""

import os
import pathlib
import socket
import ssl
import struct
import subprocess
import tempfile
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, service, tcp_listener, tls_listener, wait_until
from hello import (EXT_SESSION_TICKET, EXT_VERSIONS, NAMES, TLS12, TLS13, ServerHello, ask, client_hello,
                   parse_client_hello, read_answer)
from peers import SClient, Target, client_context, echoed, serve_echo, tcp_client, tls_client
from policies import document_policies

EXT_PRE_SHARED_KEY, EXT_EARLY_DATA, EXT_PSK_MODES = 41, 42, 45
RECORD_APPLICATION_DATA = 23
RENEGOTIATION_SCSV = 0x00FF  # RFC 5746: "I know about secure renegotiation"
VERSIONS = ("-tls1_2", "-tls1_3")
POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"  # TLS 1.2 and 1.3


class NoResumption(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.port = reserve_port()
        listener = tls_listener(cls.port, certificates().leaf(), ssl_policy=POLICY)
        cls.target = cls.enterClassContext(Target(serve_echo))
        cls.proxy = cls.enterClassContext(Proxy(service([listener], [group(cls.target)])))
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def test_s_client_reconnecting_is_new_every_time(self):
        status, output = SClient(self.port, "-tls1_2", "-reconnect").finish()
        self.assertEqual(status, 0, output)
        self.assertEqual(output.count("New, TLSv1.2, Cipher is"), 6, output)
        self.assertNotIn("Reused,", output)
        self.assertNotIn("TLS session ticket", output)

    def test_there_is_no_session_to_save(self):
        for flag in VERSIONS:
            saved = self.folder / f"session{flag}"
            self.assertIn("New, ", self.echo_once(flag, "-sess_out", saved))
            self.assertFalse(saved.exists(), "the server gave the client something to resume with")

    def echo_once(self, *arguments):
        """Data must flow, since TLS 1.3 tickets arrive behind the handshake."""
        with SClient(self.port, *arguments) as client:
            client.send(b"is there a ticket\n")
            client.wait_for("is there a ticket")
            output = client.output()
            self.assertNotIn("New Session Ticket arrived", output)
            self.assertNotIn("Reused,", output)
            client.process.stdin.close()
            client.process.wait(harness.PATIENCE)
        return output

    def test_a_foreign_session_is_refused(self):
        """A session of another server, with ticket and early data: the handshake is a full one."""
        early = self.folder / "early"
        early.write_bytes(b"early bird\n")
        for flag in VERSIONS:
            saved = self.folder / f"foreign{flag}"
            self.make_foreign_session(flag, saved)
            early_data = ["-early_data", early] if flag == "-tls1_3" else []
            output = self.echo_once(flag, "-sess_in", saved, *early_data)
            self.assertIn("New, ", output)
            self.assertNotIn("early bird", output)
            self.assertEqual("Early data was rejected" in output, flag == "-tls1_3")

    def make_foreign_session(self, flag, saved):
        port, leaf = reserve_port(), certificates().leaf()
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", flag, "-early_data",
                   "-cert", leaf["chain"], "-key", leaf["key"]]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            def listening():
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0
            wait_until("s_server listening", listening)
            with SClient(port, flag, "-sess_out", saved):
                wait_until("a session to be saved", lambda: saved.exists() and saved.stat().st_size)
        finally:
            server.kill()
            server.communicate()

    def test_python_sees_neither_ticket_nor_session_id(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(version)
            with tls_client(self.port, context) as first:
                self.assertTrue(echoed(first))
                session = first.session
                self.assertFalse(session and session.has_ticket)
                if version == ssl.TLSVersion.TLSv1_2:
                    self.assertEqual(session.id, b"")
            with tls_client(self.port, context, session=session) as second:
                self.assertTrue(echoed(second))
                self.assertFalse(second.session_reused)

    def test_no_ticket_record_follows_a_tls13_handshake(self):
        """Tickets would be the first records of the server behind its Finished."""
        with tls_client(self.port, client_context(ssl.TLSVersion.TLSv1_3)) as client:
            with socket.socket(fileno=os.dup(client.fileno())) as raw:
                raw.settimeout(0.5)
                self.assertRaises(TimeoutError, raw.recv, 1)
            client.settimeout(harness.PATIENCE)
            self.assertTrue(echoed(client))

    def test_the_server_hello_grants_no_ticket_and_no_compression(self):
        address, suites = ("127.0.0.1", self.port), list(NAMES.values())
        answer = ask(address, TLS12, suites, extra=[(EXT_SESSION_TICKET, b"")], compression=b"\1\0",
                     session_id=b"s" * 32)
        self.assertIsInstance(answer, ServerHello)
        self.assertNotIn(EXT_SESSION_TICKET, answer.extensions)
        self.assertEqual(answer.compression, 0)
        self.assertEqual(answer.session_id, b"")
        answer = ask(address, TLS13, suites, extra=early_data_with_a_ticket())
        self.assertIsInstance(answer, ServerHello)
        self.assertNotIn(EXT_PRE_SHARED_KEY, answer.extensions)

    def test_renegotiation_is_refused(self):
        flows = len(self.proxy.events("flow"))
        with SClient(self.port, "-tls1_2", "-msg") as client:
            client.send(b"before\n")
            client.wait_for("before")
            client.send(b"R\n")
            client.wait_for("RENEGOTIATING")
            wait_until("the refusal", lambda: "no_renegotiation" in client.output())
            self.assertEqual(client.output().count("ServerHelloDone"), 1)
            client.process.stdin.close()
            client.process.wait(harness.PATIENCE)
        self.proxy.wait_events("flow", flows + 1)
        with tls_client(self.port) as client:
            self.assertTrue(echoed(client))

    def test_early_data_never_reaches_a_target(self):
        accepted = self.target.accepted
        with tcp_client(self.port) as client:
            client.sendall(client_hello(TLS13, list(NAMES.values()), extra=early_data_with_a_ticket()))
            self.assertIsInstance(read_answer(client), ServerHello)
            client.sendall(struct.pack(">BHH", RECORD_APPLICATION_DATA, TLS12, 64) + bytes(64))
        with tls_client(self.port) as client:
            self.assertTrue(echoed(client))
        self.assertEqual(self.target.accepted, accepted + 1)


def early_data_with_a_ticket():
    """The extensions of a client that resumes and sends early data; pre_shared_key must be the last one."""
    identity = b"a ticket nobody made" * 4
    identities = struct.pack(">HH", len(identity) + 6, len(identity)) + identity + bytes(4)
    binder = struct.pack(">HB", 33, 32) + bytes(32)
    return [(EXT_EARLY_DATA, b""), (EXT_PSK_MODES, b"\1\1"), (EXT_PRE_SHARED_KEY, identities + binder)]


class TargetSide(unittest.TestCase):
    def test_the_hello_to_a_target_is_plain_2016_08(self):
        """The suites of ELBSecurityPolicy-2016-08 in its order, up to TLS 1.2, no session, no ticket."""
        port, hellos = reserve_port(), []

        def keep_hello(connection):
            header = connection.recv(5, socket.MSG_WAITALL)
            hellos.append(header + connection.recv(int.from_bytes(header[3:5], "big"), socket.MSG_WAITALL))
        policy = next(p for p in document_policies() if p.name == "ELBSecurityPolicy-2016-08")
        with Target(keep_hello) as target, \
                Proxy(service([tcp_listener(port)], [group(target, protocol="TLS")])):
            for _ in range(3):
                # It ends with the refused handshake, which may come before connect() has returned.
                with self.assertRaises(ConnectionError), tcp_client(port) as client:
                    client.sendall(b"x")
                    client.recv(1)
            target.wait_results(3)
        for hello in hellos:
            suites, session_id, extensions = parse_client_hello(hello)
            self.assertEqual(suites, [*policy.ciphers, RENEGOTIATION_SCSV])
            self.assertEqual(session_id, b"")
            self.assertNotIn(EXT_SESSION_TICKET, extensions)
            self.assertNotIn(EXT_VERSIONS, extensions)


if __name__ == "__main__":
    harness.main()
