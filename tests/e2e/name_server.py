"""A name server for the end-to-end tests, and a host (hosts.py) that asks nobody else: what /etc/hosts and
/etc/resolv.conf say there is the test's. Needs root."""

import ipaddress
import pathlib
import socket
import tempfile
import threading
import unittest

import harness
from hosts import Host

_TYPES = {1: 4, 28: 6}  # A, AAAA: the version of IP
_IN_THE_TESTS_OWN = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/hosts && mount --bind "$2" '
                     '/etc/resolv.conf && shift 2 && exec "$@"', "sh"]


class NameServer:
    """Answers on 127.0.0.1:53 of this thread's host for what is in `names`: a list of addresses, or None: not
    a word. Of other names it says that there are none. `asked` counts the questions."""

    def __init__(self, ttl=1):
        self.names, self.ttl, self.asked = {}, ttl, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.socket.getsockname())
        self._thread.join(harness.PATIENCE)
        self.socket.close()

    def _serve(self):
        while True:
            question, peer = self.socket.recvfrom(4096)
            if not question:
                return
            self.asked += 1
            answer = self._answer(question)
            if answer:
                self.socket.sendto(answer, peer)

    def _answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = int.from_bytes(question[at + 1:at + 3], "big")
        addresses = self.names.get(".".join(labels).lower(), [])
        if addresses is None:
            return None
        data = [ipaddress.ip_address(address).packed for address in addresses
                if ipaddress.ip_address(address).version == _TYPES.get(kind)]
        records = b"".join(b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1" + self.ttl.to_bytes(4, "big") +
                           len(address).to_bytes(2, "big") + address for address in data)
        flags = 0x8180 if addresses else 0x8183
        head = question[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(data).to_bytes(2, "big")
        return head + b"\0\0\0\0" + question[12:at + 5] + records


@harness.needs_root
class Named(unittest.TestCase):
    """A test that lives on a host of its own, with a name server."""

    def setUp(self):
        host = Host()
        self.addCleanup(host.close)
        self.host = self.enterContext(host)
        self.dns = self.enterContext(NameServer())
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="tlsplice-e2e-")))
        self.hosts, resolv = folder / "hosts", folder / "resolv.conf"
        self.hosts.write_text("127.0.0.1 localhost\n")
        resolv.write_text("nameserver 127.0.0.1\n")
        self.prefix = [*_IN_THE_TESTS_OWN, self.hosts, resolv]
        self.proxy = None

    def start(self, config, **options):
        self.proxy = self.enterContext(harness.Proxy(config, prefix=self.prefix, **options))
        return self.proxy
