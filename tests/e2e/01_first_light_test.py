"""Promised: TLS ends at a listener and the bytes go on to a target, in clear, re-encrypted, or without
any TLS at all, over IPv4 and IPv6. Checked with curl and openssl s_client in front of real targets; each
flow must leave one true line in the log: who, where to, protocol, cipher, bytes."""

import subprocess
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, service, tcp_listener, tls_listener
from peers import SClient, Target, echoed, serve_echo, serve_http, server_context, tcp_client, tls_client


def curl(url, *arguments):
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE)
    assert done.returncode == 0, f"curl {url}: status {done.returncode}: {done.stderr}"
    return done.stdout


class FirstLight(unittest.TestCase):
    def test_curl_verifies_the_chain_and_reaches_the_target(self):
        port = reserve_port()
        listener = tls_listener(port, certificates().leaf())
        with Target(serve_http) as target, Proxy(service([listener], [group(target)])) as proxy:
            url = f"https://localhost:{port}/hello"
            body = curl(url, "--ipv4", "--cacert", str(certificates().root), "--write-out", "%{http_code}")
            self.assertEqual(body, "GET /hello HTTP/1.1200")
            flow = proxy.wait_events("flow")[0]
            self.assertEqual((flow["listener"], flow["server_name"]), ("web", "localhost"))
            self.assertEqual(flow["target"], target.address)
            self.assertEqual(flow["protocol"], "TLSv1.2")
            self.assertEqual(flow["cipher"], "ECDHE-RSA-AES128-GCM-SHA256")
            self.assertEqual(flow["end"], "closed")
            request = target.wait_results(1)[0]
            self.assertEqual(int(flow["received_bytes"]), len(request))
            self.assertGreater(int(flow["sent_bytes"]), len("GET /hello HTTP/1.1"))
            self.assertLess(int(flow["duration_ms"]), 20_000)

    def test_s_client_talks_to_an_echo(self):
        port = reserve_port()
        listener = tls_listener(port, certificates().leaf(), ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06")
        with Target(serve_echo) as target, Proxy(service([listener], [group(target)])) as proxy:
            with SClient(port, "-CAfile", certificates().root, "-verify_return_error") as client:
                client.send(b"good evening\n")
                client.wait_for("good evening")
                self.assertIn("New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256", client.output())
                self.assertIn("Verify return code: 0 (ok)", client.output())
            flow = proxy.wait_events("flow")[0]
            self.assertEqual((flow["protocol"], flow["cipher"]), ("TLSv1.3", "TLS_AES_128_GCM_SHA256"))
            self.assertEqual((flow["received_bytes"], flow["sent_bytes"]), ("13", "13"))

    def test_a_tcp_listener_passes_bytes_through(self):
        port = reserve_port()
        with Target(serve_echo) as target, Proxy(service([tcp_listener(port)], [group(target)])) as proxy:
            with tcp_client(port) as client:
                self.assertTrue(echoed(client, bytes(range(256)) * 40))
                address = client.getsockname()
            flow = proxy.flow_of(address)
            self.assertEqual((flow["protocol"], flow["cipher"]), ("-", "-"))
            self.assertEqual((flow["received_bytes"], flow["sent_bytes"]), ("10240", "10240"))
            self.assertEqual(flow["end"], "closed")
            counters = proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=1, NewFlowCount_TCP=1)
            self.assertEqual(counters["NewFlowCount_TLS"], 0)
            self.assertEqual((counters["ProcessedBytes_TCP"], counters["ProcessedBytes_TLS"]), (20480, 0))

    def test_targets_are_re_encrypted_and_not_validated(self):
        """Self-signed by nobody known, and expired: the load balancer does not look."""
        for certificate in (certificates().leaf(), certificates().leaf(expired=True)):
            context = server_context(certificate)
            ports = reserve_port(), reserve_port()
            listeners = [tls_listener(ports[0], certificates().leaf()), tcp_listener(ports[1])]
            with Target(serve_http, context) as target, \
                    Proxy(service(listeners, [group(target, protocol="TLS")])):
                self.assertEqual(curl(f"https://127.0.0.1:{ports[0]}/tls", "--insecure"), "GET /tls HTTP/1.1")
                self.assertEqual(curl(f"http://127.0.0.1:{ports[1]}/tcp"), "GET /tcp HTTP/1.1")
                self.assertEqual(len(target.wait_results(2)), 2)

    def test_ipv6_in_front_and_behind(self):
        port = reserve_port()
        listener = tls_listener(port, certificates().leaf(), host="[::1]")
        with Target(serve_echo, host="::1") as target, Proxy(service([listener], [group(target)])) as proxy:
            with tls_client(port, host="::1") as client:
                self.assertTrue(echoed(client))
                address = client.getsockname()
            flow = proxy.flow_of(address)
            self.assertEqual(flow["target"], target.address)
            self.assertEqual(flow["client"], f"[::1]:{address[1]}")

    def test_listeners_lead_to_their_own_groups(self):
        ports = [reserve_port() for _ in range(2)]
        listeners = [tls_listener(port, certificates().leaf(), name=f"l{index}", forward=f"g{index}")
                     for index, port in enumerate(ports)]
        with Target(lambda c: c.sendall(b"zero\n")) as zero, Target(lambda c: c.sendall(b"one!\n")) as one:
            groups = [group(zero, name="g0"), group(one, name="g1")]
            with Proxy(service(listeners, groups)) as proxy:
                self.assertEqual({line["listener"] for line in proxy.events("listening")}, {"l0", "l1"})
                for _ in range(5):
                    for port, expected in zip(ports, (b"zero\n", b"one!\n")):
                        with tls_client(port) as client:
                            self.assertEqual(client.recv(100), expected)


if __name__ == "__main__":
    harness.main()
