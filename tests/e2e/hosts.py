"""Hosts for the end-to-end tests: network namespaces with addresses of their own, joined by wires (veth).
Nothing of them has a name on the machine: closing the last descriptor takes a host away. `with host:` lets
this thread, and the threads and processes that it starts inside the block, live there; sockets stay where
they were made. Needs root."""

import ctypes
import os
import subprocess
import unittest

import harness

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
