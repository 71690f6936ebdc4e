"""Promised: the access log's fields tls_protocol_version and tls_cipher are those of the connection, under
every protocol version and every suite that any policy has and this OpenSSL offers, with both kinds of key.
Checked by openssl s_client, one connection a cell, and by reading its line back."""

import pathlib
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

import harness
from access_log import parse, whole_lines
from harness import Proxy, group, service, wait_until
from peers import Target, serve_echo
from policies import KEYS, PROTOCOLS, all_policies, listener_of_each

FLAGS = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
WORDS = {"TLSv1": "tlsv10", "TLSv1.1": "tlsv11", "TLSv1.2": "tlsv12", "TLSv1.3": "tlsv13"}
AT_ONCE = 4


def cells():
    """{(protocol, suite, key): the first policy that accepts it}"""
    found = {}
    for policy in all_policies():
        for protocol in PROTOCOLS:
            for suite in policy.ciphers:
                for key in KEYS:
                    if policy.accepts(protocol, suite, key):
                        found.setdefault((protocol, suite, key), policy)
    return found


def connect(port, protocol, suite):
    offer = ["-ciphersuites", suite] if protocol == "TLSv1.3" else ["-cipher", f"{suite}:@SECLEVEL=0"]
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", FLAGS[protocol], *offer],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=harness.PATIENCE)
    return f"Cipher is {suite}" in done.stdout


class EverySuite(unittest.TestCase):
    def test_version_and_suite_are_told(self):
        wanted = cells()
        self.assertEqual({protocol for protocol, _, _ in wanted}, set(PROTOCOLS))
        ports, listeners = listener_of_each(dict.fromkeys(wanted.values()))
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="tlsplice-e2e-")))
        target = self.enterContext(Target(serve_echo))
        config = service(listeners, [group(target)], access_log={"file": folder / "log", "format": "2.0"})
        self.enterContext(Proxy(config))
        with ThreadPoolExecutor(AT_ONCE) as clients:
            done = clients.map(lambda cell: connect(ports[wanted[cell].name, cell[2]], *cell[:2]), wanted)
            self.assertEqual([cell for cell, well in zip(wanted, done) if not well], [])

        def told():
            lines = map(parse, whole_lines(folder / "log"))
            return sorted((line["listener"], line["tls_protocol_version"], line["tls_cipher"])
                          for line in lines)
        expected = sorted((f"port-{ports[policy.name, key]}", WORDS[protocol], suite)
                          for (protocol, suite, key), policy in wanted.items())
        wait_until(lambda: f"{len(expected)} lines, there are {len(told())}",
                   lambda: len(told()) >= len(expected))
        self.assertEqual(told(), expected)


if __name__ == "__main__":
    harness.main()
