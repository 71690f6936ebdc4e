"""Hosts for the end-to-end tests: network namespaces with addresses of their own, joined by wires (veth).
Nothing of them has a name on the machine: closing the last descriptor takes a host away. `with host:` lets
this thread, and the threads and processes that it starts inside the block, live there; sockets stay where
they were made. Needs root."""

import ctypes
import os
import socket
import subprocess
import unittest

import harness
from peers import Target

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _own_namespace():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(descriptor):
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Host:
    def __init__(self):
        before = _own_namespace()
        if _libc.unshare(_CLONE_NEWNET):
            os.close(before)
            raise unittest.SkipTest(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
        self.namespace, self._before = _own_namespace(), []
        _enter(before)
        os.close(before)
        self.ip("link", "set", "lo", "up")

    def close(self):
        os.close(self.namespace)

    def __enter__(self):
        self._before.append(_own_namespace())
        _enter(self.namespace)
        return self

    def __exit__(self, *_):
        before = self._before.pop()
        _enter(before)
        os.close(before)

    def run(self, *command):
        """What the command says, on this host."""
        with self:
            done = subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def ip(self, *arguments):
        return self.run("ip", *arguments)

    def set(self, name, value):
        """sysctl(8) of this host, by the path below /proc/sys."""
        with self, open(f"/proc/sys/{name}", "w") as file:
            file.write(str(value))

    def address(self, device, *addresses):
        for address in addresses:
            self.ip("address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        self.ip("link", "set", device, "up")


def wire(one, device, other, other_device):
    """A cable between two hosts; both ends are still down and without an address."""
    one.ip("link", "add", device, "type", "veth", "peer", "name", other_device, "netns",
           f"/proc/{os.getpid()}/fd/{other.namespace}")


CLIENT = {4: "10.71.1.2", 6: "fd71:1::2"}
PROXY = {4: "10.71.1.1", 6: "fd71:1::1"}  # where the clients see it
GATEWAY = {4: "10.71.2.1", 6: "fd71:2::1"}  # where the targets do
TARGET = {4: "10.71.2.2", 6: "fd71:2::2"}
PORTS = {"TLS": 443, "TCP": 80}  # nobody else is on these hosts


@harness.needs_root
class Network(unittest.TestCase):
    """Clients, the proxy, targets: hosts of their own in a row. The proxy is everybody's gateway, forwards
    nothing, and lets no packet in by a device that does not lead to its sender."""

    def setUp(self):
        self.client, self.proxy_host, self.target_host = (self.host() for _ in range(3))
        wire(self.client, "wire", self.proxy_host, "clients")
        wire(self.target_host, "wire", self.proxy_host, "targets")
        for host, device, addresses in ((self.client, "wire", CLIENT), (self.proxy_host, "clients", PROXY),
                                        (self.target_host, "wire", TARGET),
                                        (self.proxy_host, "targets", GATEWAY)):
            host.address(device, f"{addresses[4]}/24", f"{addresses[6]}/64")
        for v in 4, 6:
            self.target_host.ip("route", "add", "default", "via", GATEWAY[v])
            self.client.ip("route", "add", "default", "via", PROXY[v])
        for device in "all", "clients", "targets":
            self.proxy_host.set(f"net/ipv4/conf/{device}/rp_filter", 1)
        for name in "ipv4/ip_forward", "ipv6/conf/all/forwarding":
            self.proxy_host.set(f"net/{name}", 0)

    def host(self):
        host = Host()
        self.addCleanup(host.close)
        return host

    def target(self, serve, v=4, host=None, **keys):
        with host or self.target_host:
            return self.enterContext(Target(serve, host=TARGET[v] if host is None else "127.0.0.1", **keys))

    def connect(self, front="TCP", v=4, source=None):
        """A client's plain socket."""
        with self.client:
            connection = self.enterContext(socket.socket(socket.AF_INET6 if v == 6 else socket.AF_INET))
        connection.settimeout(harness.PATIENCE)
        if source:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind(source)
        connection.connect((PROXY[v], PORTS[front]))
        return connection
