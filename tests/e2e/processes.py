"""What the kernel tells about running processes and their sockets, in /proc."""

import pathlib
import re
import socket
import subprocess
import sys


def process_exists(pid):
    """Whether it still runs: a dead child that its parent has not awaited yet does not."""
    try:
        return " Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:2]
    except (FileNotFoundError, ProcessLookupError):
        return False


def process_status(pid):
    """/proc/PID/status as a dict."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def limit_worker(pid, resource, soft):
    """Sets the soft limit of a running process, "nofile" or "as"; None takes it back up to the hard limit.
    Done as the user that the process runs as: in a container root may lack the capability."""
    status = process_status(pid)
    column = {"nofile": "Max open files", "as": "Max address space"}[resource]
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    hard = re.search(rf"{column} +\S+ +(\S+)", limits)[1]
    subprocess.run(["prlimit", "--pid", str(pid), f"--{resource}={hard if soft is None else soft}:{hard}"],
                   user=int(status["Uid"].split()[0]), group=int(status["Gid"].split()[0]), extra_groups=[],
                   check=True, timeout=30)


def inode_of_peer(client):
    """The socket inode of the other end of a loopback IPv4 connection, from the kernel's table."""
    def hexadecimal(address):
        return f"{int.from_bytes(socket.inet_aton(address[0]), sys.byteorder):08X}:{address[1]:04X}"
    local, remote = hexadecimal(client.getpeername()), hexadecimal(client.getsockname())
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[1] == local and columns[2] == remote:
            return columns[9]
    raise AssertionError(f"no connection {remote} -> {local}")
