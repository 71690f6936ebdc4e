"""Promised: where the kernel has TLS, a connection whose suite it knows moves into it, towards clients and
towards TLS targets, and every byte still arrives; what stays in user space says why, in the record and in a
counter; ktls = "require" refuses the rest. Where the kernel has none, nothing changes and "require" does not
start. Run natively this checks whichever half this kernel is; tests/vm runs it on kernels that have TLS."""

import hashlib
import os
import ssl
import unittest

import harness
from certificates import certificates
from harness import KERNEL_TLS, Proxy, group, reserve_port, run_program, service, tls_listener
from peers import Target, client_context, receive_exactly, serve_echo, server_context, tls_client

POLICY = "ELBSecurityPolicy-TLS13-1-0-2021-06"
SUITES = ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "AES128-GCM-SHA256")
SIZE = 3_000_000 if os.environ.get("VM_KERNEL") else harness.scaled(30_000_000, 3_000_000)


def echo_of(port, context, size=SIZE):
    """Sends and reads back in pieces that fill records and pieces that do not; the digests must be equal."""
    with tls_client(port, context) as client:
        sent, back, left = hashlib.sha256(), hashlib.sha256(), size
        while left > 0:
            piece = os.urandom(min(left, 100_000 if left % 2 else 777))
            client.sendall(piece)
            sent.update(piece)
            back.update(receive_exactly(client, len(piece)))
            left -= len(piece)
        assert sent.digest() == back.digest(), "the bytes came back changed"
        return client.getsockname()


class KernelTls(unittest.TestCase):
    def setUp(self):
        self.port = reserve_port()

    def serve(self, target, ktls="auto", policy=POLICY, **of_group):
        listener = tls_listener(self.port, certificates().leaf(), ssl_policy=policy, ktls=ktls)
        return Proxy(service([listener], [group(target, **of_group)]))

    @unittest.skipUnless(KERNEL_TLS, "this kernel has no TLS")
    def test_suites_of_the_kernel_move_into_it(self):
        with Target(serve_echo) as target, self.serve(target, ktls="require") as proxy:
            contexts = [client_context(ssl.TLSVersion.TLSv1_2, suite) for suite in SUITES]
            contexts.append(client_context(ssl.TLSVersion.TLSv1_3))
            for context in contexts:
                flow = proxy.flow_of(echo_of(self.port, context, SIZE // len(contexts)))
                self.assertEqual(flow["client_ktls"], "kernel", flow)
            proxy.wait_counters(KtlsConnectionCount=len(contexts), UserTlsConnectionCount_Kernel=0)

    @unittest.skipUnless(KERNEL_TLS, "this kernel has no TLS")
    def test_both_sides_are_in_the_kernel(self):
        """A TLS 1.2 target, as ELBSecurityPolicy-2016-08 has it."""
        context = server_context(certificates().leaf())
        with Target(serve_echo, context) as target, self.serve(target, protocol="TLS", ktls="auto") as proxy:
            flow = proxy.flow_of(echo_of(self.port, client_context(ssl.TLSVersion.TLSv1_3)))
            self.assertEqual((flow["client_ktls"], flow["target_ktls"]), ("kernel", "kernel"))

    @unittest.skipUnless(KERNEL_TLS, "this kernel has no TLS")
    def test_the_rest_says_why_it_stays(self):
        cases = ((ssl.TLSVersion.TLSv1_2, "AES128-SHA256", "cipher"),
                 (ssl.TLSVersion.TLSv1_1, "AES128-SHA@SECLEVEL=0", "protocol"))
        with Target(serve_echo) as target, self.serve(target) as proxy:
            for version, suite, reason in cases:
                flow = proxy.flow_of(echo_of(self.port, client_context(version, suite), 10_000))
                self.assertEqual(flow["client_ktls"], reason)
            proxy.wait_counters(UserTlsConnectionCount_Cipher=1, UserTlsConnectionCount_Protocol=1)

    @unittest.skipUnless(KERNEL_TLS, "this kernel has no TLS")
    def test_require_refuses_the_rest(self):
        with Target(serve_echo) as target, self.serve(target, ktls="require") as proxy:
            with self.assertRaises((OSError, ssl.SSLError, AssertionError)):
                echo_of(self.port, client_context(ssl.TLSVersion.TLSv1_2, "AES128-SHA256"), 100)
            flow = proxy.wait_events("flow")[0]
            self.assertEqual((flow["end"], flow["client_ktls"]), ("ktls_required", "cipher"))
            proxy.wait_counters(KtlsRequiredErrorCount=1)

    def test_off_stays_in_user_space(self):
        with Target(serve_echo) as target, self.serve(target, ktls="off") as proxy:
            flow = proxy.flow_of(echo_of(self.port, client_context(ssl.TLSVersion.TLSv1_3), 10_000))
            self.assertEqual(flow["client_ktls"], "off")
            proxy.wait_counters(UserTlsConnectionCount_Off=1, KtlsConnectionCount=0)

    @unittest.skipIf(KERNEL_TLS, "this kernel has TLS")
    def test_without_kernel_tls_nothing_changes(self):
        with Target(serve_echo) as target, self.serve(target) as proxy:
            flow = proxy.flow_of(echo_of(self.port, client_context(ssl.TLSVersion.TLSv1_3)))
            self.assertEqual(flow["client_ktls"], "no_kernel_tls")
            proxy.wait_counters(UserTlsConnectionCount_Kernel=1)

    @unittest.skipIf(KERNEL_TLS, "this kernel has TLS")
    def test_without_kernel_tls_require_does_not_start(self):
        listener = tls_listener(self.port, certificates().leaf(), ktls="require")
        config = service([listener], [group("127.0.0.1:9")])
        with harness.tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(harness.toml(config))
            file.flush()
            done = run_program("run", "-c", file.name)
        self.assertEqual(done.returncode, 1)
        self.assertIn("listener.ktls", done.stderr)
        self.assertIn("modprobe tls", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
