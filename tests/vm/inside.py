#!/usr/bin/env python3
"""Run in the guest by guest_test.py: what the tests there stand on. kTLS with real records on a loopback
pair, io_uring by its system calls, and the surroundings that tools/vm promises. It expects nothing but
Python's standard library."""

import contextlib
import ctypes
import mmap
import os
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import time
import unittest

TCP_ULP = 31
SOL_TLS, TLS_TX, TLS_RX = 282, 1, 2
VERSIONS = {"TLS 1.2": 0x0303, "TLS 1.3": 0x0304}
CIPHERS = {  # number in linux/tls.h, then the lengths of iv, key and salt
    "AES-128-GCM": (51, 8, 16, 4),
    "AES-256-GCM": (52, 8, 32, 4),
    "ChaCha20-Poly1305": (54, 12, 32, 0),
}
SYS_IO_URING_SETUP, SYS_IO_URING_ENTER = 425, 426
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])


@contextlib.contextmanager
def loopback_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            client.settimeout(20)
            server, _ = listener.accept()
            with server:
                yield client, server


def keys(version, cipher, fill=7):
    """struct tls12_crypto_info_*: all of them are version, cipher, iv, key, salt, record sequence number."""
    number, *lengths = CIPHERS[cipher]
    return struct.pack("=HH", VERSIONS[version], number) + bytes([fill]) * sum(lengths) + bytes(8)


class KernelTls(unittest.TestCase):
    def test_the_tls_protocol_can_be_set_on_a_socket(self):
        with loopback_pair() as (client, _):
            client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
            self.assertEqual(client.getsockopt(socket.IPPROTO_TCP, TCP_ULP, 16).rstrip(b"\0"), b"tls")

    def test_records_written_by_one_socket_are_read_by_the_other(self):
        for version in VERSIONS:
            for cipher in CIPHERS:
                with self.subTest(version=version, cipher=cipher), loopback_pair() as (client, server):
                    for end in client, server:
                        end.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
                    client.setsockopt(SOL_TLS, TLS_TX, keys(version, cipher))
                    server.setsockopt(SOL_TLS, TLS_RX, keys(version, cipher))
                    sent = os.urandom(50000)
                    client.sendall(sent)
                    client.shutdown(socket.SHUT_WR)
                    with server.makefile("rb") as stream:
                        self.assertEqual(stream.read(), sent)

    def test_the_wire_carries_records(self):
        with loopback_pair() as (client, server):
            client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
            client.setsockopt(SOL_TLS, TLS_TX, keys("TLS 1.3", "AES-128-GCM"))
            client.sendall(b"in the clear")
            record = server.recv(1000)
            self.assertEqual(record[:3], b"\x17\x03\x03")
            self.assertNotIn(b"clear", record)

    def test_only_kernels_from_6_14_take_a_second_key(self):
        with loopback_pair() as (client, _):
            client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
            client.setsockopt(SOL_TLS, TLS_TX, keys("TLS 1.3", "AES-128-GCM"))
            again = contextlib.nullcontext() if KERNEL >= (6, 14) else self.assertRaises(OSError)
            with again:
                client.setsockopt(SOL_TLS, TLS_TX, keys("TLS 1.3", "AES-128-GCM", fill=8))

    def test_aes_runs_on_the_processors_instructions(self):
        algorithms = pathlib.Path("/proc/crypto").read_text(encoding="utf-8")
        self.assertRegex(algorithms, r"name +: gcm\(aes\)\ndriver +: generic-gcm-aesni")


class IoUring(unittest.TestCase):
    def test_an_operation_is_completed(self):
        libc = ctypes.CDLL(None, use_errno=True)

        def call(number, *arguments):
            result = libc.syscall(number, *arguments)
            self.assertGreaterEqual(result, 0, os.strerror(ctypes.get_errno()))
            return result

        parameters = ctypes.create_string_buffer(120)
        fd = call(SYS_IO_URING_SETUP, 4, parameters)
        submissions = dict(zip(("head", "tail", "mask", "entries", "flags", "dropped", "array"),
                               struct.unpack_from("=7I", parameters, 40)))
        completions = dict(zip(("head", "tail", "mask", "entries", "overflow", "cqes"),
                               struct.unpack_from("=6I", parameters, 80)))
        entries = struct.unpack_from("=I", parameters)[0]
        ring = mmap.mmap(fd, max(submissions["array"] + 4 * entries, completions["cqes"] + 16 * 2 * entries))
        requests = mmap.mmap(fd, 64 * entries, offset=0x10000000)
        struct.pack_into("=BBHiQQIIQ", requests, 0, 0, 0, 0, -1, 0, 0, 0, 0, 4711)  # IORING_OP_NOP, marked
        struct.pack_into("=I", ring, submissions["array"], 0)
        struct.pack_into("=I", ring, submissions["tail"], 1)
        self.assertEqual(call(SYS_IO_URING_ENTER, fd, 1, 1, 1, None, 0), 1)
        self.assertEqual(struct.unpack_from("=I", ring, completions["tail"])[0], 1)
        self.assertEqual(struct.unpack_from("=Qi", ring, completions["cqes"]), (4711, 0))
        os.close(fd)


class Surroundings(unittest.TestCase):
    def test_the_kernel_is_the_one_asked_for(self):
        self.assertTrue(os.uname().release.startswith(os.environ["VM_KERNEL"] + "."), os.uname().release)

    def test_file_systems_are_where_programs_expect_them(self):
        lines = pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        mounts = {line.split()[1]: line.split()[2] for line in lines}
        expected = {"/": "overlay", "/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/dev/shm": "tmpfs",
                    "/dev/pts": "devpts", "/run": "tmpfs", "/sys/fs/bpf": "bpf", "/sys/fs/cgroup": "cgroup2"}
        self.assertEqual({folder: mounts.get(folder) for folder in expected}, expected)

    def test_the_whole_tree_can_be_written(self):
        for folder in "/tmp", "/etc", "/run", "/dev/shm", REPOSITORY:
            with self.subTest(folder=folder):
                path = pathlib.Path(folder) / "guest-test-was-here"
                path.write_text("x", encoding="utf-8")
                self.assertEqual(path.read_text(encoding="utf-8"), "x")

    def test_many_files_can_be_open_and_much_memory_locked(self):
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (1048576, 1048576))
        self.assertEqual(resource.getrlimit(resource.RLIMIT_MEMLOCK), (resource.RLIM_INFINITY,) * 2)

    def test_the_clock_is_right(self):
        self.assertLess(abs(time.time() - float(os.environ["GUEST_TEST_NOW"])), 600)

    def test_random_numbers_are_ready(self):
        self.assertEqual(len(os.getrandom(32, os.GRND_NONBLOCK)), 32)

    def test_both_loopback_addresses_work(self):
        for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
            with self.subTest(address=address), socket.create_server((address, 0), family=family) as listener:
                socket.create_connection(listener.getsockname()[:2]).close()

    def test_programs_of_the_host_run(self):
        for command in ["openssl", "version"], ["curl", "--version"], [os.environ["TLSPLICE"], "--version"]:
            with self.subTest(command=command):
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
                self.assertTrue(done.stdout.strip())


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
