"""What each security policy accepts, from two sources that the program does not read: the table of the
load balancer's document (verbatim, tests/policy/document_table.md) and, for the later policies, the API's
own answer (tests/cli/describe-ssl-policies.json)."""

import functools
import json
import subprocess
from dataclasses import dataclass

from certificates import certificates
from harness import REPOSITORY, reserve_port, tls_listener
from hello import SUITES, TLS10, TLS11, TLS12, TLS13

PROTOCOLS = {"TLSv1": TLS10, "TLSv1.1": TLS11, "TLSv1.2": TLS12, "TLSv1.3": TLS13}
KEYS = ("rsa-2048", "ec-256")
_NAMES = {  # the table's column titles; two policies share the first, "identical" in the document's words
    "2016-08": ("ELBSecurityPolicy-2016-08", "ELBSecurityPolicy-2015-05"),
    "FS-2018-06": ("ELBSecurityPolicy-FS-2018-06",),
    "TLS-1-2": ("ELBSecurityPolicy-TLS-1-2-2017-01",),
    "TLS-1-2-Ext": ("ELBSecurityPolicy-TLS-1-2-Ext-2018-06",),
    "TLS-1-1": ("ELBSecurityPolicy-TLS-1-1-2017-01",),
    "TLS-1-0": ("ELBSecurityPolicy-TLS-1-0-2015-04",),
}


@dataclass(frozen=True)
class Policy:
    name: str
    protocols: tuple
    ciphers: tuple  # in the server's order

    def accepts(self, protocol, suite, key):
        return (protocol in self.protocols and suite in self.ciphers and fits(suite, protocol, key)
                and suite not in missing_suites())

    def chosen(self, protocol, suites, key):
        """The server's first suite that the client also offers; None when there is none."""
        return next((own for own in self.ciphers if own in suites and self.accepts(protocol, own, key)), None)


def fits(suite, protocol, key):
    """Whether the suite exists in this protocol and can be authenticated with this kind of key."""
    if suite.startswith("TLS_") or protocol == "TLSv1.3":
        return suite.startswith("TLS_") and protocol == "TLSv1.3"
    if suite.endswith(("SHA256", "SHA384")) and protocol != "TLSv1.2":
        return False
    return ("ECDSA" in suite) == key.startswith("ec")


@functools.cache
def missing_suites():
    """Of the document's suites, those that this OpenSSL was built without (Debian's: DES-CBC3-SHA)."""
    command = ["openssl", "ciphers", "ALL:@SECLEVEL=0"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(SUITES) - set(listed.strip().split(":"))


def listener_of_each(policies):
    """({(policy name, key): port}, the listeners): one for every policy and kind of key."""
    ports, listeners = {}, []
    for policy in policies:
        for key in KEYS:
            port = ports[policy.name, key] = reserve_port()
            listeners.append(tls_listener(port, certificates().leaf(key), name=f"port-{port}",
                                          ssl_policy=policy.name, certificate_keys="any"))
    return ports, listeners


def document_policies():
    """The seven, read cell by cell from the table."""
    rows = []
    for line in (REPOSITORY / "tests/policy/document_table.md").read_text().splitlines():
        if line.startswith("|"):
            rows.append([cell.strip().replace("\\", "") for cell in line.strip("| \t").split("|")])
    header = next(row for row in rows if row[0] == "Security Policy")
    marks = {row[0]: row[1:] + [""] * len(header) for row in rows
             if row[0].startswith("Protocol-") or row[0] in SUITES}
    policies = []
    for column, title in enumerate(header[1:]):
        chosen = [name for name, cells in marks.items() if cells[column] == "♦"]
        protocols = tuple(name.removeprefix("Protocol-") for name in chosen if name.startswith("Protocol-"))
        ciphers = tuple(name for name in chosen if name in SUITES)
        policies += [Policy(name, protocols, ciphers) for name in _NAMES[title.rstrip(" *†")]]
    assert len(policies) == 7 and all(policy.protocols and policy.ciphers for policy in policies), policies
    return policies


def all_policies():
    answer = json.loads((REPOSITORY / "tests/cli/describe-ssl-policies.json").read_text())
    policies = []
    for entry in answer["SslPolicies"]:
        ordered = sorted(entry["Ciphers"], key=lambda cipher: cipher["Priority"])
        ciphers = tuple(cipher["Name"] for cipher in ordered)
        policies.append(Policy(entry["Name"], tuple(entry["SslProtocols"]), ciphers))
    assert len(policies) == 49
    return policies
