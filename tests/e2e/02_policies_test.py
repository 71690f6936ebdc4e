"""Promised: a listener accepts exactly the protocols and suites of its security policy. Checked for all
49 policies, each with an RSA and an EC certificate. openssl s_client tries every cell of the document's
table that it can offer, for the later policies every valid cell and the invalid ones in bulk; hand-made
ClientHellos try every cell of policy x protocol x suite, also those that no library offers (GCM under TLS
1.0, DES-CBC3-SHA)."""

import re
import subprocess
import unittest
from concurrent.futures import ThreadPoolExecutor

import harness
from harness import Proxy, group, service
from hello import SUITES, Alert, ServerHello, ask
from peers import Target, serve_echo
from policies import KEYS, PROTOCOLS, all_policies, document_policies, fits, listener_of_each, missing_suites

S_CLIENT_FLAGS = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
AT_ONCE = 4
FATAL, CLOSED = 2, "closed without an alert"


def s_client(port, protocol, suites):
    """(protocol, suite) that was negotiated, or the alert that refused it."""
    offer = ["-ciphersuites", ":".join(suites)] if protocol == "TLSv1.3" else \
        ["-cipher", ":".join(suites) + ":@SECLEVEL=0"]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", S_CLIENT_FLAGS[protocol], *offer]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=harness.PATIENCE)
    if match := re.search(r"^New, [^(]\S*, Cipher is (\S+)$", done.stdout, re.MULTILINE):
        session = re.search(r"^ +Protocol  : (\S+)$", done.stdout, re.MULTILINE)
        return session[1] if session else "TLSv1.3", match[1]
    alert = re.search(r"alert [a-z ]+", done.stderr)
    return alert[0] if alert else done.stderr + done.stdout


def by_hand(port, protocol, suites):
    answer = ask(("127.0.0.1", port), PROTOCOLS[protocol], suites)
    if isinstance(answer, ServerHello):
        names = {code: name for name, code in PROTOCOLS.items()}
        return names[answer.version], answer.suite
    if isinstance(answer, Alert) and answer.level == FATAL:
        return f"alert {answer.description}"
    return CLOSED


class Cell:
    """One attempt and what must come of it."""

    def __init__(self, policy, key, protocol, *suites):
        self.policy, self.key, self.protocol, self.suites = policy, key, protocol, suites
        self.expected = policy.chosen(protocol, suites, key)

    def wrong(self, attempt, port):
        outcome = attempt(port, self.protocol, self.suites)
        if self.expected:
            right = outcome == (self.protocol, self.expected)
        else:
            right = isinstance(outcome, str) and outcome.startswith("alert")
        where = f"{self.policy.name} {self.key} {self.protocol} {':'.join(self.suites)}"
        return None if right else f"{where}: {outcome}, expected {self.expected or 'an alert'}"


def offerable(protocol):
    """The suites that a library offers under this protocol."""
    return [suite for suite in SUITES if any(fits(suite, protocol, key) for key in KEYS)
            and suite not in missing_suites()]


class Policies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.policies = document_policies() if harness.SANITIZED else all_policies()
        cls.ports, listeners = listener_of_each(cls.policies)
        cls.target = cls.enterClassContext(Target(serve_echo))
        cls.proxy = cls.enterClassContext(Proxy(service(listeners, [group(cls.target)])))

    def try_all(self, attempt, cells):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            def try_one(cell):
                return cell.wrong(attempt, self.ports[cell.policy.name, cell.key])
            wrong = [verdict for verdict in pool.map(try_one, cells) if verdict]
        self.assertEqual(wrong, [], f"{len(wrong)} of {len(cells)} cells")
        accepted = sum(1 for cell in cells if cell.expected)
        print(f"{len(cells)} cells, {accepted} accepted, ", end="", flush=True)

    def test_the_two_sources_agree_on_the_document_policies(self):
        later = {policy.name: policy for policy in all_policies()}
        for policy in document_policies():
            self.assertEqual(policy, later[policy.name])

    def test_document_table_with_s_client(self):
        cells = [Cell(policy, key, protocol, suite) for policy in document_policies() for key in KEYS
                 for protocol in PROTOCOLS for suite in offerable(protocol)]
        self.try_all(s_client, cells)

    @unittest.skipIf(harness.SANITIZED, "the document's seven are enough here")
    def test_later_policies_with_s_client(self):
        seven = {policy.name for policy in document_policies()}
        later = [policy for policy in self.policies if policy.name not in seven]
        self.assertEqual(len(later), 42)
        cells = [cell for policy in later for key in KEYS for cell in self.cells_of(policy, key)]
        self.try_all(s_client, cells)

    def cells_of(self, policy, key):
        """Each valid cell alone; all suites that must be refused under a protocol in one offer."""
        for protocol in PROTOCOLS:
            accepted = [suite for suite in offerable(protocol) if policy.accepts(protocol, suite, key)]
            refused = [suite for suite in offerable(protocol) if suite not in accepted]
            yield from (Cell(policy, key, protocol, suite) for suite in accepted)
            if refused:
                yield Cell(policy, key, protocol, *refused)

    def test_every_cell_by_hand(self):
        cells = [Cell(policy, key, protocol, suite) for policy in self.policies for key in KEYS
                 for protocol in PROTOCOLS for suite in SUITES]
        self.try_all(by_hand, cells)

    def test_refusals_are_counted_and_recorded(self):
        before = self.proxy.counters()["ClientTLSNegotiationErrorCount"]
        port = self.ports["ELBSecurityPolicy-TLS-1-2-2017-01", "rsa-2048"]
        self.assertRegex(by_hand(port, "TLSv1.2", ["AES128-SHA"]), "alert 40")  # handshake_failure
        self.assertRegex(by_hand(port, "TLSv1.1", ["AES128-SHA"]), "alert 70")  # protocol_version
        self.proxy.wait_counters(ClientTLSNegotiationErrorCount=before + 2)
        flows = self.proxy.events("flow", listener=f"port-{port}")[-2:]
        self.assertEqual([flow["end"] for flow in flows], ["handshake_failed"] * 2)
        self.assertTrue(all(flow.get("detail", "-") not in ("", "-") for flow in flows), flows)


if __name__ == "__main__":
    harness.main()
