"""What every end-to-end test stands on: one running tlsplice with its log read line by line, ports nobody
else takes, and waiting by polling. A test is `python3 tests/e2e/NN_promise_test.py`; TLSPLICE names the
program, TLSPLICE_SANITIZED=1 says that it is the slow sanitizer build. Only processes started here are
ended, by their ids; everything has a time limit."""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import pwd
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from processes import inode_of_peer, limit_worker, process_exists, process_status  # noqa: F401

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TLSPLICE") or str(REPOSITORY / "build/release/tlsplice")
SANITIZED = os.environ.get("TLSPLICE_SANITIZED") == "1"
PATIENCE = int(os.environ.get("TLSPLICE_PATIENCE", 90 if SANITIZED else 30))  # seconds for what must happen

ROOT = os.geteuid() == 0
needs_root = unittest.skipUnless(ROOT, "a worker is not dumpable: only root can look into it")

_PORTS = range(15000, 31000)  # below the ephemeral range: no client's own port can take a reserved one
_PR_SET_PDEATHSIG = 1
_FIELD = re.compile(r'([A-Za-z_]\w*)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)')
_FIELDS_OF_ALL = {"time", "level", "event", "pid"}
_libc = ctypes.CDLL(None)
_reserved = []  # (lock, port): the locks are held for as long as the test process lives


def scaled(full, sanitized):
    """The size of something: full in a normal build, smaller under the sanitizers."""
    return sanitized if SANITIZED else full


def wait_until(what, condition, timeout=PATIENCE, every=0.01):
    """Polls until condition() is true, returns its value; AssertionError names `what` at the limit."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(every)


def reserve_port():
    """A loopback port that no other test gets while this process lives: each port has a locked file."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"tlsplice-e2e-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in random.sample(_PORTS, 500):
        lock = open(folder / str(port), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.socket(family) as probe:
                    probe.bind((host, port))
        except OSError:
            lock.close()
            continue
        _reserved.append((lock, port))
        return port
    raise AssertionError("no free port among 500 tried")


def raise_descriptor_limit():
    """As many descriptors as the machine grants: the tests hold both ends of a thousand flows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def kernel_has_tls():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as connection:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, 31, b"tls\0")  # TCP_ULP
            except OSError:
                return False
    return True


KERNEL_TLS = kernel_has_tls()


# The configuration as a dict, written as TOML.

def toml_value(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(inner) for inner in value) + "]"
    return json.dumps(str(value) if isinstance(value, pathlib.Path) else value)


def toml(config):
    """Plain keys first, then every list of dicts as an array of tables."""
    tables = {key: value for key, value in config.items() if isinstance(value, list)}
    lines = [f"{key} = {toml_value(value)}" for key, value in config.items() if key not in tables]
    for table, entries in tables.items():
        for entry in entries:
            lines += ["", f"[[{table}]]", *(f"{key} = {toml_value(value)}" for key, value in entry.items())]
    return "\n".join(lines) + "\n"


def service(listeners, groups, **top):
    """Without metrics unless asked for: many services run at a time, and their default address is one."""
    return {"workers": 2, "metrics": {"address": "off"}, **top, "target_group": list(groups),
            "listener": list(listeners)}


def group(*targets, name="app", protocol="TCP", **keys):
    addresses = [getattr(target, "address", target) for target in targets]
    keys = {"health_check": {"enabled": False}, **keys}  # targets see flows only, if the test says nothing
    return {"name": name, "protocol": protocol, "targets": addresses, **keys}


def tls_listener(port, certificate, name="web", forward="app", host="127.0.0.1", **keys):
    return {"name": name, "protocol": "TLS", "address": f"{host}:{port}", "certificate": certificate, **keys,
            "default_action": {"forward": forward}}


def tcp_listener(port, name="plain", forward="app", host="127.0.0.1", **keys):
    return {"name": name, "protocol": "TCP", "address": f"{host}:{port}", **keys,
            "default_action": {"forward": forward}}


def parse_logfmt(line):
    """The fields of one log line, or None when it is not one (a sanitizer's report, say)."""
    fields, position = {}, 0
    while position < len(line):
        match = _FIELD.match(line, position)
        if not match:
            return None
        value = match[2]
        fields[match[1]] = json.loads(value) if value.startswith('"') else value
        position = match.end()
    return fields if _FIELDS_OF_ALL <= fields.keys() else None


def run_program(*arguments, timeout=PATIENCE, **options):
    return subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout, **options)


def assert_unprivileged(test, pid, user):
    """That the process, which may just have begun, is this user's, has no capability, and can gain none."""
    wait_until("it gives up its rights", lambda: process_status(pid)["NoNewPrivs"] == "1")
    status, account = process_status(pid), pwd.getpwnam(user)
    test.assertEqual(status["Uid"].split(), [str(account.pw_uid)] * 4)
    test.assertEqual(status["Gid"].split(), [str(account.pw_gid)] * 4)
    test.assertIn(status["Groups"].split(), ([], [str(account.pw_gid)]))
    for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        test.assertEqual(int(status[name], 16), 0, name)


def end_with_the_test():
    """In the child: if the test is killed, the service ends too instead of being left behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


class Proxy:
    """`with Proxy(config) as proxy:` runs the service until the block ends. Leaving the block sends SIGTERM
    and requires the promised end: status 0, no worker left, only log lines on stderr, no flow active."""

    def __init__(self, config, environment=None, prefix=(), user=None, pass_fds=(),
                 program=PROGRAM, changes=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tlsplice-e2e-"))
        self.config_file = self.folder / "tlsplice.toml"
        self.write_config(config)
        if changes is not None:
            pathlib.Path(f"{self.config_file}.changes.json").write_text(json.dumps(changes))
        self.log_file = self.folder / "log"
        if user is not None:
            for path in self.folder, self.config_file:
                os.chown(path, user, user)
        self.lines, self.foreign, self._position, self._lock = [], [], 0, threading.Lock()
        self.expected_status = 0  # a test that kills the service itself says so here
        self._known_workers = set()  # and the processes beside them
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*prefix, str(program), "run", "-c", str(self.config_file)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={**os.environ, **(environment or {})},
                preexec_fn=end_with_the_test,
                user=user, group=user, extra_groups=None if user is None else [],
                pass_fds=pass_fds)

    def __enter__(self):
        try:
            wait_until(lambda: f"serving\n{self.text()}", lambda: self.events("serving") or self.gone())
            assert not self.gone(), f"ended with {self.process.returncode} instead of serving:\n{self.text()}"
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self._end_as_promised()
        except BaseException:
            kind = True
            raise
        finally:
            self.kill()
            if kind is not None:
                print(f"--- log of {PROGRAM}\n" + "\n".join(self.text().splitlines()[-60:]), file=sys.stderr)
            self._remove_files()

    def _end_as_promised(self):
        status = self.stop() if not self.gone() else self.process.returncode
        assert status == self.expected_status, f"exit status {status}"
        left = [pid for pid in self._known_workers if process_exists(pid)]
        assert not left, f"workers {left} outlive the service"
        self._read_log()
        assert not self.foreign, "lines on stderr that are no log lines:\n" + "\n".join(self.foreign)
        if status == 0:
            last = self.events("counters")[-1:]
            assert last and last[0]["ActiveFlowCount"] == "0", f"counters at the end: {last}"

    def _remove_files(self):
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    # Its configuration

    def write_config(self, config):
        self.config_file.write_text(toml({"admin": {"socket": self.folder / "admin.sock"}, **config}))

    def reload(self, config=None):
        """To this configuration, or to the file as it is: "reloaded" or "not_reloaded", as it was said."""
        if config is not None:
            self.write_config(config)
        answers = "reloaded", "not_reloaded"
        before = {event: len(self.events(event)) for event in answers}
        self.tell(signal.SIGHUP)

        def said():
            return next((event for event in answers if len(self.events(event)) > before[event]), None)
        return wait_until("an answer to SIGHUP", said)

    # Its processes

    def gone(self):
        return self.process.poll() is not None

    def tell(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE):
        """The exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {timeout} s after it was told to end") from None

    def stop(self, number=signal.SIGTERM, timeout=PATIENCE):
        self.workers()
        self.tell(number)
        return self.wait(timeout)

    def kill(self):
        """The way out of a failed test: master, then the workers it started."""
        self.workers()
        if not self.gone():
            self.process.kill()
            self.process.wait()
        for pid in self._known_workers:
            with contextlib.suppress(ProcessLookupError):
                if process_exists(pid):
                    os.kill(pid, signal.SIGKILL)

    def workers(self):
        """{worker index: pid} as logged, of those alive."""
        started = {}
        for line in self.events("worker_started"):
            started[int(line["worker"])] = int(line["worker_pid"])
        self._known_workers.update(started.values(), self._beside("monitor"), self._beside("resolver"))
        return {index: pid for index, pid in started.items() if process_exists(pid)}

    def _beside(self, name):
        return [int(line[f"{name}_pid"]) for line in self.events(f"{name}_started")]

    def monitor(self, name="monitor"):
        """The pid of the monitor process, None when there is none alive."""
        return next((pid for pid in self._beside(name)[-1:] if process_exists(pid)), None)

    def resolver(self):
        return self.monitor("resolver")

    def worker_descriptors(self):
        """How many descriptors the workers hold together; 0 where only root could tell."""
        if not ROOT:
            return 0
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.workers().values())

    def worker_of(self, client):
        """The pid of the worker that serves this client socket: the one that holds its other end."""
        inode = inode_of_peer(client)
        for pid in self.workers().values():
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(f"/proc/{pid}/fd/{name}") == f"socket:[{inode}]":
                        return pid
        raise AssertionError("no worker holds the other end of this connection")

    # Its log

    def text(self):
        return self.log_file.read_text(errors="replace")

    def _read_log(self):
        with self._lock, open(self.log_file, "rb") as log:
            log.seek(self._position)
            block = log.read()
            whole = block[:block.rfind(b"\n") + 1]
            self._position += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                fields = parse_logfmt(line)
                (self.lines.append(fields) if fields else self.foreign.append(line))

    def events(self, name, /, **fields):
        """All log lines of this event (with these fields) so far, each as a dict of strings."""
        self._read_log()
        wanted = {"event": name, **{key: str(value) for key, value in fields.items()}}
        return [line for line in self.lines if wanted.items() <= line.items()]

    def wait_events(self, name, /, count=1, timeout=PATIENCE, **fields):
        """At least `count` such lines; all of them."""
        def enough():
            found = self.events(name, **fields)
            return found if len(found) >= count else None
        return wait_until(lambda: f"{count} x {name} {fields}; last {self.events(name)[-3:]}", enough,
                          timeout)

    def flow_of(self, client_address, timeout=PATIENCE):
        """The one line that the flow of this client (a socket address) left at its end."""
        host, port = client_address[:2]
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return self.wait_events("flow", timeout=timeout, client=text)[0]

    def counters(self):
        """Every counter, summed over the workers, as the service prints it on SIGUSR1."""
        before = len(self.events("counters"))
        self.tell(signal.SIGUSR1)
        line = self.wait_events("counters", before + 1)[-1]
        return {key: int(value) for key, value in line.items() if key not in _FIELDS_OF_ALL}

    def wait_counters(self, timeout=PATIENCE, **expected):
        """Polls until these counters have exactly these values; all counters."""
        seen = {}

        def equal():
            seen.update(self.counters())
            return expected.items() <= seen.items()

        wait_until(lambda: f"counters {expected}, have {({key: seen.get(key) for key in expected})}", equal,
                   timeout, 0.05)
        return dict(seen)

    @contextlib.contextmanager
    def counting(self, **growth):
        """What happens inside the block must make these counters grow by exactly this much."""
        before = self.counters()
        yield
        self.wait_counters(**{name: before[name] + count for name, count in growth.items()})


def main():
    """What each test file ends with: raises the descriptor limit, says which program, runs the tests."""
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"{PROGRAM}: no such program; build it or name it with TLSPLICE=")
    raise_descriptor_limit()
    unittest.main(verbosity=2, warnings="ignore")
