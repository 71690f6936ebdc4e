"""Promised: the first suite of the policy's list that the client also offers is chosen, whatever order
the client prefers. Checked for every policy, protocol and kind of key: a hand-made ClientHello offers
every suite in the reversed order, then again without the one that was chosen, and so on, so that the
answers spell out the server's whole list. openssl s_client repeats the first step."""

import re
import subprocess
import unittest

import harness
from harness import Proxy, group, service
from hello import SUITES, Alert, ServerHello, ask
from peers import Target, serve_echo
from policies import KEYS, PROTOCOLS, all_policies, document_policies, listener_of_each, missing_suites

FLAGS = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2"}


def server_order(port, protocol, offered):
    """What the server chooses of `offered`, then of the rest, until it refuses."""
    order, rest = [], list(offered)
    while rest:
        answer = ask(("127.0.0.1", port), PROTOCOLS[protocol], rest)
        if not isinstance(answer, ServerHello):
            assert isinstance(answer, Alert), f"neither ServerHello nor alert: {answer}"
            break
        order.append(answer.suite)
        rest.remove(answer.suite)
    return order


def reversed_offer(policy):
    """Every suite there is; those of the policy in its order reversed."""
    return [suite for suite in SUITES if suite not in policy.ciphers] + list(reversed(policy.ciphers))


class Preference(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.policies = document_policies() if harness.SANITIZED else all_policies()
        cls.ports, listeners = listener_of_each(cls.policies)
        cls.target = cls.enterClassContext(Target(serve_echo))
        cls.proxy = cls.enterClassContext(Proxy(service(listeners, [group(cls.target)])))

    def test_the_servers_whole_order_for_every_policy(self):
        longest = 0
        for policy, key, protocol in self.cells(self.policies):
            with self.subTest(policy=policy.name, key=key, protocol=protocol):
                expected = [suite for suite in policy.ciphers if policy.accepts(protocol, suite, key)]
                order = server_order(self.ports[policy.name, key], protocol, reversed_offer(policy))
                self.assertEqual(order, expected)
                longest = max(longest, len(expected))
        self.assertEqual(longest, 12)  # six ECDHE-RSA and six RSA suites: the expectation itself is not empty

    def test_s_client_in_reversed_order(self):
        for policy, key, protocol in self.cells(document_policies()):
            with self.subTest(policy=policy.name, key=key, protocol=protocol):
                offer = [suite for suite in reversed_offer(policy)
                         if not suite.startswith("TLS_") and suite not in missing_suites()]
                expected = policy.chosen(protocol, offer, key)
                self.assertIsNotNone(expected)
                suite = self.s_client_suite(self.ports[policy.name, key], protocol, offer)
                self.assertEqual(suite, expected)

    def cells(self, policies):
        for policy in policies:
            yield from ((policy, key, protocol) for key in KEYS for protocol in policy.protocols)

    def s_client_suite(self, port, protocol, offer):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", FLAGS[protocol],
                   "-cipher", ":".join(offer) + ":@SECLEVEL=0"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=harness.PATIENCE)
        return re.search(r"^New, \S+, Cipher is (\S+)$", done.stdout, re.MULTILINE)[1]


if __name__ == "__main__":
    harness.main()
