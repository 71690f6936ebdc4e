"""Promised: a TLS listener with an ALPN policy agrees on the first protocol of its policy that the client
offers too, in TLS 1.2 and 1.3; without one the connection goes on all the same. A TLS target is offered what
was agreed on with the client, and nothing else. The access log, `flows` and the header to targets tell it;
`modify-listener` changes it. Lists by hand, however hostile, break no line and no other flow."""

import json
import ssl
import subprocess
import tempfile
import unittest
import urllib.parse

import harness
from access_log import name_extension, parse, text_of, whole_lines
from certificates import certificates
from foreign import ForeignServer
from harness import (KERNEL_TLS, Proxy, group, reserve_port, run_program, service, tcp_listener, tls_listener,
                     wait_until)
from hello import TLS12, TLS13, client_hello, parse_client_hello
from peers import (SClient, Target, client_context, echoed, receive_exactly, serve_echo, server_context,
                   tcp_client, tls_client)
from proxy_headers import ALPN, Haproxy, receive_header

POLICIES = {"None": [], "HTTP1Only": ["http/1.1", "http/1.0"], "HTTP2Only": ["h2"],
            "HTTP2Optional": ["http/1.1", "http/1.0", "h2"],
            "HTTP2Preferred": ["h2", "http/1.1", "http/1.0"]}
OFFERS = (["h2", "http/1.1"], ["http/1.1", "h2"], ["http/1.0", "h2"], ["http/1.0"], ["h2"],
          ["h3", "acme-tls/1", "two words"], [])
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
BOTH = "ELBSecurityPolicy-TLS13-1-2-2021-06"
SUITE = "ECDHE-RSA-AES128-GCM-SHA256"
EXTENSION = 16


def offering(protocols, version=None):
    context = client_context(version)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def vector(width, data):
    return len(data).to_bytes(width, "big") + data


def extension(*protocols):
    return (EXTENSION, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


def logged(offer):
    """The field alpn_client_preference_list of a client that offers these."""
    return ",".join(f'"{urllib.parse.quote(protocol)}"' for protocol in offer) or None


class WithService(unittest.TestCase):
    def start(self, policies, *targets, protocol="TCP", log=None, **keys):
        """A TLS listener for each policy, named like it."""
        self.ports = {policy: reserve_port() for policy in policies}
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="tlsplice-e2e-"))
        self.file = f"{folder}/access.log"
        listeners = [tls_listener(port, certificates().leaf(), name=policy, ssl_policy=BOTH,
                                  **({} if policy == "None" else {"alpn_policy": policy}))
                     for policy, port in self.ports.items()]
        log = {"file": self.file, "format": "2.0", "load_balancer": "net/a/0123456789abcdef", **(log or {})}
        config = service(listeners, [group(*targets, protocol=protocol, **keys)], access_log=log)
        self.proxy = self.enterContext(Proxy(config))

    def line_of(self, listener, address):
        """That of this listener's client with this address: the only one. (Another listener may have had a
        client from the same port.)"""
        def found():
            return [line for line in map(parse, whole_lines(self.file))
                    if (line["listener"], line["client_port"]) == (listener, text_of(address))]
        [line] = wait_until(lambda: f"the line of {address}", found)
        return line

    def flow_of(self, listener, address):
        [flow] = self.proxy.wait_events("flow", listener=listener, client=text_of(address))
        return flow

    def talk(self, policy, offer, version=None):
        """What the client says was agreed on, and its address; the connection went well."""
        with tls_client(self.ports[policy], offering(offer, version)) as client:
            address = client.getsockname()
            self.assertTrue(echoed(client))
            agreed = client.selected_alpn_protocol()
            client.unwrap()
        return agreed, address

    def say(self, policy, data):
        """The address of a client that says these bytes and waits for the end."""
        with tcp_client(self.ports[policy]) as client:
            address = client.getsockname()
            client.sendall(data)
            client.shutdown(1)
            while client.recv(4096):
                pass
        return address


class Policies(WithService):
    def setUp(self):
        self.start(POLICIES, self.enterContext(Target(serve_echo)))

    def test_the_policys_order_counts(self):
        for policy, prefers in POLICIES.items():
            for version in VERSIONS:
                for offer in OFFERS:
                    with self.subTest(policy=policy, version=version, offer=offer):
                        expected = next((name for name in prefers if name in offer), None)
                        agreed, address = self.talk(policy, offer, version)
                        self.assertEqual(agreed, expected)
                        line = self.line_of(policy, address)
                        self.assertEqual(line["alpn_fe_protocol"], expected)
                        self.assertIsNone(line["alpn_be_protocol"])
                        self.assertEqual(line["alpn_client_preference_list"],
                                         logged(offer) if policy != "None" else None)
                        flow = self.flow_of(policy, address)
                        self.assertEqual(flow["alpn"], expected or "-")
                        self.assertEqual(flow["client_ktls"], "kernel" if KERNEL_TLS else "no_kernel_tls")

    def test_openssl_agrees(self):
        for policy, offer, said in (("HTTP2Preferred", "http/1.1,h2", "ALPN protocol: h2"),
                                    ("HTTP1Only", "h2,http/1.0", "ALPN protocol: http/1.0"),
                                    ("HTTP2Only", "http/1.1", "No ALPN negotiated"),
                                    ("None", "h2", "No ALPN negotiated")):
            for version in "-tls1_2", "-tls1_3":
                with self.subTest(policy=policy, version=version):
                    status, output = SClient(self.ports[policy], "-alpn", offer, version).finish()
                    self.assertEqual(status, 0, output)
                    self.assertIn(said, output)

    def test_an_offer_is_known_of_failed_handshakes_too(self):
        name = name_extension(b"www.example.com")
        hello = client_hello(TLS12, ["DES-CBC3-SHA"], extra=[name, extension(b"h2", b"spdy/3")])
        line = self.line_of("HTTP2Only", self.say("HTTP2Only", hello))
        self.assertEqual((line["alpn_fe_protocol"], line["alpn_client_preference_list"]),
                         (None, '"h2","spdy/3"'))
        self.assertEqual(line["domain_name"], "www.example.com")
        line = self.line_of("None", self.say("None", hello))
        self.assertIsNone(line["alpn_client_preference_list"])

    def test_hostile_offers_break_no_line(self):
        for offer, text in (([b"\x0a\x0a", b"\0", b'"', b'","'], '"%0A%0A","%00","%22","%22%2C%22"'),
                            ([b"\xff" * 255], '"' + "%FF" * 85),
                            ([b"a" * 254], '"' + "a" * 254 + '"'),
                            ([b"a" * 255, b"h2"], '"' + "a" * 255),
                            ([b"x"] * 8000, ('"x",' * 64))):
            with self.subTest(offer=offer[:3]):
                hello = client_hello(TLS12, ["DES-CBC3-SHA"], extra=[extension(*offer)])
                line = self.line_of("HTTP2Only", self.say("HTTP2Only", hello))
                self.assertEqual(line["alpn_client_preference_list"], text)
        for version, suite in (TLS12, SUITE), (TLS13, "TLS_AES_128_GCM_SHA256"):
            for body in (b"", b"\0", b"\0\0", b"\0\1\0", b"\0\4\2h2\0", b"\0\3\3h2", b"\xff\xff\2h2",
                         b"\0\3\2h2\0"):
                with self.subTest(version=version, body=body):
                    hello = client_hello(version, [suite], extra=[(EXTENSION, body)])
                    line = self.line_of("HTTP2Only", self.say("HTTP2Only", hello))
                    self.assertIsNone(line["chosen_cert_arn"], "no ClientHello that can be read")
                    self.assertIsNone(line["alpn_client_preference_list"])
        self.assertEqual(self.talk("HTTP2Only", ["h2"])[0], "h2")

    def test_changes_at_run_time(self):
        def modify(*arguments):
            done = run_program("modify-listener", "-c", self.proxy.config_file, *arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)["Listeners"][0]
        with tls_client(self.ports["None"], offering(["h2"])) as old:
            self.assertTrue(echoed(old))
            listener = modify("--listener-arn", "None", "--alpn-policy", "HTTP2Preferred")
            self.assertEqual((listener["AlpnPolicy"], listener["Changed"]),
                             (["HTTP2Preferred"], ["AlpnPolicy"]))
            self.assertEqual(self.talk("None", ["http/1.1", "h2"])[0], "h2")
            self.proxy.reload()
            self.assertEqual(self.talk("None", ["http/1.1", "h2"])[0], "h2")
            checked = run_program("check", "-c", self.proxy.config_file).stdout
            self.assertIn('listener None: alpn_policy is "HTTP2Preferred", not "None"', checked)
            self.assertIn("alpn       HTTP2Preferred: h2 http/1.1 http/1.0\n", checked)
            listener = modify("--listener", "None", "--alpn-policy", "None")
            self.assertEqual((listener["AlpnPolicy"], listener.get("Changed")), (["None"], None))
            self.assertIsNone(self.talk("None", ["h2"])[0])
            self.assertTrue(echoed(old))


class TlsTargets(WithService):
    def target(self, knows, version=None):
        context = server_context(certificates().leaf(), version)
        if knows:
            context.set_alpn_protocols(knows)

        def serve(connection):
            serve_echo(connection)
            return connection.selected_alpn_protocol()
        return self.enterContext(Target(serve, context))

    def test_speak_what_the_client_speaks(self):
        for knows, version in ((["http/1.0", "http/1.1", "h2"], VERSIONS[0]), ([], None), (["h2"], None)):
            target = self.target(knows, version)
            self.start(POLICIES, target, protocol="TLS")
            results = 0
            for policy in POLICIES:
                for offer in OFFERS[:4]:
                    with self.subTest(knows=knows, policy=policy, offer=offer):
                        agreed, address = self.talk(policy, offer)
                        results += 1
                        expected = agreed if agreed in knows else None
                        self.assertEqual(target.wait_results(results)[-1], expected)
                        line = self.line_of(policy, address)
                        self.assertEqual((line["alpn_fe_protocol"], line["alpn_be_protocol"]),
                                         (agreed, expected))

    def test_are_offered_that_alone(self):
        def offered(connection):
            head = receive_exactly(connection, 5)
            record = head + receive_exactly(connection, int.from_bytes(head[3:], "big"))
            return parse_client_hello(record)[2].get(EXTENSION)
        target = self.enterContext(Target(offered))
        self.start(POLICIES, target, protocol="TLS")
        for number, (policy, offer, expected) in enumerate((
                ("HTTP2Preferred", ["http/1.1", "h2"], extension(b"h2")[1]),
                ("HTTP2Optional", ["h2", "http/1.0"], extension(b"http/1.0")[1]),
                ("HTTP2Only", ["http/1.1"], None), ("HTTP2Only", [], None), ("None", ["h2"], None)), 1):
            with tls_client(self.ports[policy], offering(offer)):
                self.assertEqual(target.wait_results(number)[-1], expected, (policy, offer))

    def test_that_refuse_are_told_apart(self):
        leaf = certificates().leaf()
        target = self.enterContext(ForeignServer(
            lambda port: ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-alpn", "h2",
                          "-cert", leaf["chain"], "-key", leaf["key"]]))
        self.start(["HTTP1Only"], target, protocol="TLS")
        with tls_client(self.ports["HTTP1Only"], offering(["http/1.0"])) as client:
            address = client.getsockname()
            with self.assertRaises(OSError):
                client.recv(1)
                raise ConnectionResetError
        self.assertEqual(self.flow_of("HTTP1Only", address)["end"], "target_handshake_failed")
        line = self.line_of("HTTP1Only", address)
        self.assertEqual((line["alpn_fe_protocol"], line["alpn_be_protocol"]), ("http/1.0", None))

    def test_flows_tell_both(self):
        self.start(["HTTP2Preferred"], self.target(["h2"]), protocol="TLS", log={"format": "json"})
        with tls_client(self.ports["HTTP2Preferred"], offering(["h2", "http/1.1"])) as client:
            self.assertTrue(echoed(client))
            address = client.getsockname()
            asked = "flows", "-c", self.proxy.config_file
            [flow] = json.loads(run_program(*asked, "--json").stdout)["flows"]
            self.assertEqual(flow["alpn"], {"client": "h2", "target": "h2"})
            self.assertIn(" h2,h2 ", run_program(*asked).stdout)
            client.unwrap()
        line = self.line_of("HTTP2Preferred", address)
        self.assertEqual(line["alpn_client_preference_list"], '"h2","http/1.1"')


class Http2(WithService):
    """HAProxy as target, curl as client."""

    def get(self, port, *arguments):
        """(version of HTTP, the words that HAProxy answers: addresses, server name)."""
        done = subprocess.run(["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20",
                               "--insecure", "--write-out", " %{http_version}", *arguments,
                               f"https://localhost:{port}/"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        *words, version = done.stdout.split()
        return version, words

    def test_passes_through(self):
        haproxy = self.enterContext(Haproxy(certificates().leaf()))
        for protocol, address in (("TCP", haproxy.address), ("TLS", haproxy.tls_address)):
            self.start(POLICIES, address, protocol=protocol,
                       proxy_protocol_v2={"enabled": True, "tlvs": ["alpn", "authority"]})
            for policy, version in (("HTTP2Preferred", "2"), ("HTTP2Only", "2"), ("HTTP2Optional", "1.1"),
                                    ("HTTP1Only", "1.1"), ("None", "1.1")):
                with self.subTest(protocol=protocol, policy=policy):
                    have, words = self.get(self.ports[policy], "--http2", "--ipv4")
                    self.assertEqual((have, words[0], words[4]), (version, "127.0.0.1", "localhost"))
                    self.assertEqual(self.proxy.wait_events("flow", listener=policy)[-1]["alpn"],
                                     {"2": "h2", "1.1": "-" if policy == "None" else "http/1.1"}[version])

    def test_the_header_is_what_haproxy_says_of_the_same_client(self):
        target = self.enterContext(Target(receive_header))
        sender = self.enterContext(Haproxy(certificates().leaf(), target.address))
        at_once = {"client_to_server": {"header_placement": "on_first_ack"}}
        self.start(["HTTP2Preferred"], target,
                   proxy_protocol_v2={"enabled": True, "tlvs": ["alpn"], **at_once})
        results = 0
        for offer, expected in (["http/1.1", "h2"], b"h2"), (["http/1.1"], b"http/1.1"), (["h3"], None):
            headers = []
            for port in self.ports["HTTP2Preferred"], sender.sender:
                with tls_client(port, offering(offer)):
                    results += 1
                    headers.append(target.wait_results(results)[-1])
            ours, theirs = headers
            self.assertEqual((ours.value(ALPN), theirs.value(ALPN)), (expected, expected))
            self.assertEqual(len(ours.raw), 100)


class Mistakes(unittest.TestCase):
    def test_are_told(self):
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/t.toml"
            for listener, said in (
                    (tls_listener(1, certificates().leaf(), alpn_policy="h2"), '"h2" is no ALPN policy, '),
                    (tcp_listener(1, alpn_policy="HTTP2Only"), "only for TLS listeners; remove it")):
                with open(file, "w") as out:
                    out.write(harness.toml(service([listener], [group("127.0.0.1:9")])))
                done = run_program("check", "-c", file)
                self.assertEqual(done.returncode, 1)
                self.assertIn("listener.alpn_policy: ", done.stderr)
                self.assertIn(said, done.stderr)


if __name__ == "__main__":
    harness.main()
