#!/usr/bin/env python3
"""Promised of tlsplice-load: client and server verify every byte of each other, over plain TCP and TLS, in
every case of the client; both say so in one line of JSON and in their exit status. Checked by running the
two against each other, and by a relay in between that alters one byte, ends a stream early, resets it or
lets it hang: each must be noticed, with a reason."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TLSPLICE_LOAD") or str(ROOT / "build/release/tlsplice-load")
SECONDS = 120
TCP_CLOSE = 7  # include/net/tcp_states.h
CASES = {
    "bulk-down": ["--bytes", "20MiB", "--connections", "3"],
    "bulk-up": ["--bytes", "20MiB", "--connections", "3"],
    "messages": ["--count", "2000", "--size", "1000", "--connections", "7"],
    "handshakes": ["--count", "40", "--concurrency", "8"],
    "idle": ["--flows", "50", "--hold", "0.2"],
    "soak": ["--flows", "300", "--concurrency", "60"],
}


def certificate(folder):
    chain, key = f"{folder}/chain.pem", f"{folder}/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", chain],
                   check=True, capture_output=True)
    return ["--tls", chain, key]


class Serve:
    """`with Serve(...) as server:` serves until the block ends; then .status and .result are there."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([PROGRAM, "serve", "--listen", "127.0.0.1:0", *arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().rpartition(" ")[2].strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        output, self.errors = self.process.communicate(timeout=SECONDS)
        self.status, self.result = self.process.returncode, json.loads(output.splitlines()[-1])


def client(address, case, *arguments, options=()):
    done = subprocess.run([PROGRAM, "client", "--connect", address, *options, case, *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


class Meddler:
    """A relay for one connection: after `offset` bytes of one direction it does something wrong."""

    def __init__(self, address, upward, offset, deed):
        self.upward, self.offset, self.deed, self.over = upward, offset, deed, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self.listener.getsockname()[1])
        host, port = address.split(":")
        self.ended_one_way = False
        self.target = (host, int(port))
        self.thread = threading.Thread(target=self.relay)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        self.listener.close()

    def relay(self):
        client_side, _ = self.listener.accept()
        with client_side, socket.create_connection(self.target) as target_side:
            ways = [threading.Thread(target=self.pump, args=(client_side, target_side, self.upward)),
                    threading.Thread(target=self.pump, args=(target_side, client_side, not self.upward))]
            for way in ways:
                way.start()
            for way in ways:
                way.join()

    def pump(self, source, sink, meddle):
        passed = 0
        try:
            while data := bytearray(source.recv(65536)):
                if meddle and passed <= self.offset < passed + len(data):
                    self.over = self.deed is reset
                    if not self.deed(data, self.offset - passed, source, sink):
                        return
                passed += len(data)
                sink.sendall(data)
            if not self.ended_one_way and closed(source):
                raise ConnectionResetError  # which the other thread's send(2) was told of
            if not self.over:
                self.ended_one_way = True
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.over = True  # what the other thread sees now is our doing, and no end to pass on
            reset(None, 0, source, sink)


def closed(connection):
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE


def flip(data, index, _source, _sink):
    data[index] ^= 1
    return True


def end(data, index, _source, sink):
    sink.sendall(data[:index])
    sink.shutdown(socket.SHUT_WR)
    return False


def reset(_data, _index, source, sink):
    for side in (source, sink):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RD)  # wakes the other thread; the RST follows when both are closed
    return False


def hang(_data, _index, _source, _sink):
    return False


class LoadTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="tlsplice-load-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.tls = certificate(folder.name)

    def run_cases(self, served, options):
        for case, arguments in CASES.items():
            with self.subTest(case):
                with Serve(*served) as server:
                    status, result, errors = client(server.address, case, *arguments, options=options)
                self.assertEqual((status, result["ok"], result["errors"], errors), (0, True, {}, ""))
                self.assertEqual((server.status, server.result["errors"]), (0, {}))
                self.assertEqual(result["done"], result["flows"])
                self.assertEqual(server.result["done"], result["flows"])
                self.check(case, result, server.result)

    def check(self, case, result, served):
        moved = result["sent_bytes"], result["received_bytes"]
        seen = served["received_bytes"], served["sent_bytes"]
        times = result["latency_us"]
        if case == "soak":  # a reset loses what is under way, so the sums may differ
            self.assertEqual(result["ends"], served["ends"])
            self.assertGreater(min(result["ends"].values()), 0)
            return
        self.assertEqual(moved, seen)
        expected = {"bulk-down": (3 * 40, 20 << 20), "bulk-up": ((20 << 20) + 3 * 40, 3 * 16),
                    "messages": (2000 * 1000 + 7 * 40, 2000 * 1000), "handshakes": (40, 40),
                    "idle": (50 * 140, 50 * 100)}[case]
        self.assertEqual(moved, expected)
        self.assertEqual(times["count"], {"messages": 2000, "handshakes": 40, "idle": 50}.get(case, 0))
        if times["count"]:
            self.assertTrue(0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"], times)

    def test_every_case_over_plain_tcp(self):
        self.run_cases([], ["--plain"])

    def test_every_case_over_tls(self):
        self.run_cases(self.tls, ["--tls", "--tls-version", "1.3"])

    def test_every_case_over_tls_1_2(self):
        suite = "ECDHE-ECDSA-AES128-GCM-SHA256"
        self.run_cases(self.tls, ["--tls", "--tls-version", "1.2", "--ciphers", suite])

    def test_messages_for_some_time(self):
        with Serve() as server:
            status, result, _ = client(server.address, "messages", "--seconds", "0.5", "--connections", "3")
        self.assertEqual(status, 0)
        self.assertGreater(result["latency_us"]["count"], 10)
        self.assertTrue(0.4 < result["seconds"] < 5, result)

    def test_idle_flows_rest_until_told(self):
        with Serve() as server:
            for release in (lambda process: print(file=process.stdin, flush=True),
                            lambda process: process.send_signal(signal.SIGTERM)):
                command = [PROGRAM, "client", "--connect", server.address, "idle", "--flows", "9"]
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                self.assertEqual(process.stdout.readline(), "up 9\n")
                release(process)
                output, _ = process.communicate(timeout=SECONDS)
                self.assertEqual(process.returncode, 0)
                self.assertEqual(json.loads(output)["done"], 9)

    def meddle(self, case, arguments, upward, offset, deed, stall="60"):
        with Serve("--stall", stall) as server:
            with Meddler(server.address, upward, offset, deed) as meddler:
                status, result, errors = client(meddler.address, case, *arguments, options=["--stall", stall])
        self.assertEqual((status, result["ok"], result["failed"]), (1, False, 1))
        self.assertTrue(result["errors"])
        self.assertTrue(errors.startswith("tlsplice-load: "), errors)
        return server, " ".join(result["errors"])

    def test_one_altered_byte_is_noticed(self):
        for case, arguments, upward, offset, reason in (
                ("bulk-down", ["--bytes", "1MiB"], False, 777_777, "wrong byte"),
                ("bulk-up", ["--bytes", "1MiB"], True, 777_777, "the server got a wrong byte"),
                ("bulk-up", ["--bytes", "1MiB"], True, 20, "reset"),  # in the plan itself
                ("bulk-up", ["--bytes", "1MiB"], False, 3, "the server got"),  # in what the server says of it
                ("messages", ["--count", "100", "--connections", "1"], False, 1000, "wrong byte"),
                ("messages", ["--count", "100", "--connections", "1"], True, 1000, "reset"),
                ("handshakes", ["--count", "1"], False, 0, "another byte")):
            with self.subTest(case=case, upward=upward, offset=offset):
                server, why = self.meddle(case, arguments, upward, offset, flip)
                self.assertIn(reason, why)
                if upward:
                    self.assertEqual(server.status, 1)
                    self.assertIn("wrong byte", " ".join(server.result["errors"]))

    def test_an_early_end_is_noticed(self):
        for upward in False, True:
            case = "bulk-up" if upward else "bulk-down"
            _, why = self.meddle(case, ["--bytes", "1MiB"], upward, 500_000, end)
            self.assertRegex(why, "the server got N of N bytes|ended after N of N bytes|reset")

    def test_a_reset_is_noticed(self):
        _, why = self.meddle("bulk-down", ["--bytes", "1MiB"], False, 500_000, reset)
        self.assertIn("reset by the peer", why)

    def test_a_stall_is_noticed(self):
        _, why = self.meddle("bulk-down", ["--bytes", "1MiB"], False, 500_000, hang, stall="1")
        self.assertRegex(why, "stalled|reset")

    def test_tls_without_close_notify_is_noticed(self):
        with Serve(*self.tls) as server:
            with Meddler(server.address, False, 500_000, end) as meddler:
                status, result, _ = client(meddler.address, "bulk-down", "--bytes", "1MiB", options=["--tls"])
        self.assertEqual((status, list(result["errors"])), (1, ["FIN without close_notify"]))
        with Serve(*self.tls) as server:
            with Meddler(server.address, False, 500_000, end) as meddler:
                status, result, _ = client(meddler.address, "bulk-down", "--bytes", "1MiB",
                                           options=["--tls", "--take-truncation"])
        self.assertEqual((status, list(result["errors"])), (1, ["ended after N of N bytes"]))

    def test_through_the_forwarder(self):
        for case in "bulk-down", "bulk-up", "messages", "handshakes", "idle":
            with self.subTest(case), Serve() as server:
                command = [PROGRAM, "forward", "--listen", "127.0.0.1:0", "--to", server.address]
                forwarder = subprocess.Popen(command,
                                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                address = forwarder.stdout.readline().rpartition(" ")[2].strip()
                status, result, errors = client(address, case, *CASES[case])
                forwarder.terminate()
                forwarder.communicate(timeout=SECONDS)
            self.assertEqual((status, result["errors"], errors), (0, {}, ""))
            self.assertEqual(server.result["done"], result["flows"])

    def test_a_rate_of_connections(self):
        with Serve() as server:
            status, result, _ = client(server.address, "handshakes", "--count", "40", "--rate", "80")
        self.assertEqual((status, result["done"]), (0, 40))
        self.assertGreater(result["seconds"], 39 / 80 * 0.99)

    def test_connections_in_bursts(self):
        with Serve() as server:
            status, result, _ = client(server.address, "handshakes", "--count", "40", "--rate", "16",
                                       "--burst", "20")
        self.assertEqual((status, result["done"]), (0, 40))
        self.assertGreater(result["seconds"], 20 / 16 * 0.99)  # the first twenty at once
        self.assertLess(result["seconds"], 39 / 16 * 0.9)

    def test_a_rate_of_messages(self):
        for length in (["--count", "40"], ["--seconds", "0.5"]):
            with self.subTest(length=length), Serve() as server:
                status, result, _ = client(server.address, "messages", "--connections", "4", "--rate", "80",
                                           *length)
            self.assertEqual((status, result["done"]), (0, 4))
            self.assertGreater(result["seconds"], 39 / 80 * 0.99)
            self.assertTrue(30 <= result["latency_us"]["count"] <= 41, result)

    def test_who_waits_for_answers_leaves_the_processor_to_others(self):
        with Serve() as server:
            def halt():
                server.process.send_signal(signal.SIGSTOP)
                time.sleep(1)
                server.process.send_signal(signal.SIGCONT)
            halting = threading.Timer(0.3, halt)
            halting.start()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            status, result, _ = client(server.address, "messages", "--connections", "2", "--rate", "100",
                                       "--seconds", "1.5")
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            halting.join()
        self.assertEqual((status, result["done"]), (0, 2))
        self.assertGreater(result["latency_us"]["max"], 500_000)
        self.assertLess(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 0.5)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            address = "127.0.0.1:{}".format(gone.getsockname()[1])
        status, result, errors = client(address, "handshakes", "--count", "5")
        self.assertEqual((status, result["errors"]), (1, {"connect: Connection refused": 5}))
        self.assertIn("Connection refused", errors)

    def test_what_cannot_be_begun_says_why(self):
        def run(*arguments):
            done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=SECONDS)
            return done.returncode, done.stderr
        to = ["client", "--connect", "127.0.0.1:1"]
        missing = ["--tls", "no-such-file", "no-such-file"]
        for status, text, arguments in (
                (2, "subcommand is required", to),
                (2, "--connect", ["client", "soak"]),
                (2, "--tls-version", [*to, "--tls-version", "1.1", "soak"]),
                (1, "'localhost' is no address", ["client", "--connect", "localhost", "soak"]),
                (1, "--ciphers NONE", [*to, "--tls", "--ciphers", "NONE", "soak"]),
                (1, "no-such-file", ["serve", "--listen", "127.0.0.1:0", *missing])):
            with self.subTest(arguments):
                answer = run(*arguments)
                self.assertEqual(answer[0], status)
                self.assertIn(text, answer[1])
        with Serve() as server:
            status, text = run("serve", "--listen", server.address)
        self.assertEqual(status, 1)
        self.assertIn("Address already in use", text)

    def test_help(self):
        for words in [], ["serve"], ["client"], *(["client", case] for case in CASES):
            done = subprocess.run([PROGRAM, *words, "--help"], capture_output=True, text=True,
                                  timeout=SECONDS)
            self.assertEqual(done.returncode, 0, words)
            self.assertIn("Usage:", done.stdout)


if __name__ == "__main__":
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"{PROGRAM}: no such program; build it or name it with TLSPLICE_LOAD=")
    unittest.main(verbosity=2)
