"""The proxies that are compared, each with one worker on one processor, no resumption, the same certificate,
protocols and suites, and otherwise what its manual recommends for speed or has as default. A Service names
what is to be served; a Proxy serves it and knows what it costs: processor time and memory of all its
processes."""

import ctypes
import dataclasses
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time

import peers

START_SECONDS = 60
IDLE_SECONDS = 6000  # as long as 10,000 flows in a guest may take to come up
PATIENCE_SECONDS = 300  # for a handshake there
POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
SUITES = ("TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")
CIPHERS = ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA256:"
           "ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
           "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384")  # of POLICY, in its order
# What this machine grants; two for each flow, and some for the rest.
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
FLOWS_MAX = (min(DESCRIPTORS, 200_000) - 1000) // 2


@dataclasses.dataclass(frozen=True)
class Service:
    target: str  # address:port
    tls: bool = True  # towards clients
    target_tls: bool = False
    chain: pathlib.Path = None
    key: pathlib.Path = None
    rsa: bool = True


def load_program(repository):
    return os.environ.get("TLSPLICE_LOAD", repository / "build/release/tlsplice-load")


def uncounted_build(repository):
    return repository / "build/bench/uncounted"


def build_uncounted(repository):
    folder = uncounted_build(repository)
    options = "-DTLSPLICE_COUNT=OFF", "-DTLSPLICE_TESTS=OFF"
    for command in (["cmake", "--preset", "release", "-B", folder, *options],
                    ["cmake", "--build", folder, "--target", "tlsplice"]):
        done = subprocess.run(list(map(str, command)), cwd=repository, capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


class Proxy:
    """`with Tlsplice(...) as proxy:` serves on proxy.address until the block ends."""

    name = None
    tls = True  # whether it can serve it

    def __init__(self, service, repository, cpu):
        self.service, self.repository, self.cpu = service, repository, cpu
        self.address = f"127.0.0.1:{free_port()}"
        self.folder = tempfile.TemporaryDirectory(prefix=f"tlsplice-bench-{self.name}-")
        self.path = pathlib.Path(self.folder.name)
        self.environment = dict(os.environ)

    def __enter__(self):
        self.path.chmod(0o755)
        command = self.prepare()
        with open(self.path / "log", "wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment,
                                            preexec_fn=lambda: pinned(self.cpu))
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT if isinstance(self, Tlsplice) else signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
        self.folder.cleanup()

    def _wait_until_it_listens(self):
        port = int(self.address.rpartition(":")[2])
        listening = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 0A ", re.MULTILINE)
        deadline = time.monotonic() + START_SECONDS
        while not listening.search(pathlib.Path("/proc/net/tcp").read_text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.path / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not serve: {log}")
            time.sleep(0.05)
        time.sleep(0.2)  # workers come after the socket

    def pids(self):
        """All of its processes."""
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
        return found

    def cpu_seconds(self):
        """utime + stime of all of them, threads of io_uring included, but in nanoseconds: the clocks that
        clock_getcpuclockid(3) names."""
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids())

    def memory(self):
        """PSS in bytes: of shared memory its share."""
        rollups = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids())
        return sum(int(re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)[1]) for text in rollups) * 1024


class Tlsplice(Proxy):
    name = "tlsplice"
    relay, ktls = "auto", "auto"

    def prepare(self):
        service = self.service
        listener = ['name = "bench"', f'address = "{self.address}"', 'default_action = { forward = "app" }',
                    f'handshake_timeout = "{PATIENCE_SECONDS}s"' if service.tls else "",
                    f'tcp = {{ idle_timeout = "{IDLE_SECONDS}s" }}', f'relay = "{self.relay}"']
        if service.tls:
            listener += ['protocol = "TLS"', f'ssl_policy = "{POLICY}"', f'ktls = "{self.ktls}"',
                         f'certificate = {{ chain = "{service.chain}", key = "{service.key}" }}']
            listener += [] if service.rsa else ['certificate_keys = "any"']
        else:
            listener += ['protocol = "TCP"']
        group = ['name = "app"', f'protocol = "{"TLS" if service.target_tls else "TCP"}"',
                 f'targets = ["{service.target}"]',
                 f'ktls = "{self.ktls}"' if service.target_tls else "",
                 "health_check = { enabled = false }",  # a target counts its connections
                 f'connect_timeout = "{PATIENCE_SECONDS}s"']
        text = "\n".join(["workers = 1", "[[target_group]]", *group, "[[listener]]", *listener, ""])
        (self.path / "tlsplice.toml").write_text(text)
        return [self.program(), "run", "-c", self.path / "tlsplice.toml"]

    def program(self):
        return os.environ.get("TLSPLICE", self.repository / "build/release/tlsplice")


class TlspliceUncounted(Tlsplice):
    """The same program built without counting: what the numbers cost is the difference."""

    name = "tlsplice-uncounted"

    def program(self):
        return uncounted_build(self.repository) / "tlsplice"


class TlspliceUser(Tlsplice):
    """Its own record layer, also where the kernel has TLS: counts instructions of what the host does."""

    name, ktls = "tlsplice-user", "off"


class TlspliceSplice(Tlsplice):
    name, relay = "tlsplice-splice", "splice"


class TlspliceUringSplice(Tlsplice):
    name, relay = "tlsplice-uring-splice", "uring-splice"


class TlspliceCopy(Tlsplice):
    name, relay = "tlsplice-copy", "copy"


class Forward(Proxy):
    """No proxy, but what one cannot save: tlsplice-load's plain forwarder."""

    name, tls = "floor", False

    def prepare(self):
        return [load_program(self.repository), "forward", "--listen", self.address,
                "--to", self.service.target]


class Peer(Proxy):
    def __init__(self, service, repository, cpu):
        super().__init__(service, repository, cpu)
        self.root = repository / "build/bench/unpacked"
        self.environment["LD_LIBRARY_PATH"] = peers.libraries(self.root)


class Haproxy(Peer):
    name = "haproxy"

    def prepare(self):
        service, bind, server = self.service, "", ""
        if service.tls:
            pem = self.path / "both.pem"
            pem.write_text(service.chain.read_text() + service.key.read_text())
            bind = f"ssl crt {pem} ssl-min-ver TLSv1.2 no-tls-tickets"
        if service.target_tls:
            server = "ssl verify none no-tls-tickets no-ssl-reuse"
        (self.path / "haproxy.cfg").write_text(f"""\
global
    nbthread 1
    maxconn {FLOWS_MAX}
    maxpipes 250
    tune.ssl.cachesize 0
    ssl-default-bind-ciphers {CIPHERS}
    ssl-default-bind-ciphersuites {SUITES}
defaults
    mode tcp
    option splice-auto
    timeout connect {PATIENCE_SECONDS}s
    timeout client {IDLE_SECONDS}s
    timeout server {IDLE_SECONDS}s
listen bench
    bind {self.address} {bind} backlog 4096
    server target {service.target} {server}
""")
        return [self.root / "usr/sbin/haproxy", "-db", "-f", self.path / "haproxy.cfg"]


class Nginx(Peer):
    name = "nginx"

    def prepare(self):
        service, ssl = self.service, []
        if service.tls:
            ssl += [f"ssl_certificate {service.chain}", f"ssl_certificate_key {service.key}",
                    "ssl_protocols TLSv1.2 TLSv1.3", f"ssl_ciphers {CIPHERS}",
                    f"ssl_conf_command Ciphersuites {SUITES}", "ssl_prefer_server_ciphers on",
                    "ssl_session_cache off", "ssl_session_tickets off",
                    f"ssl_handshake_timeout {PATIENCE_SECONDS}s"]
        if service.target_tls:
            ssl += ["proxy_ssl on", "proxy_ssl_session_reuse off"]
        directives = "".join(f"        {directive};\n" for directive in ssl)
        (self.path / "nginx.conf").write_text(f"""\
load_module {self.root}/usr/lib/nginx/modules/ngx_stream_module.so;
user {"nobody nogroup" if os.geteuid() == 0 else "nobody"};
daemon off;
worker_processes 1;
worker_rlimit_nofile {DESCRIPTORS};
pid {self.path}/nginx.pid;
error_log stderr error;
events {{
    worker_connections {2 * FLOWS_MAX + 500};
}}
stream {{
    server {{
        listen {self.address} {"ssl" if service.tls else ""} backlog=4096;
        proxy_pass {service.target};
        proxy_half_close on;
        proxy_timeout {IDLE_SECONDS}s;
        proxy_connect_timeout {PATIENCE_SECONDS}s;
{directives}    }}
}}
""")
        return [self.root / "usr/sbin/nginx", "-p", self.path, "-e", "stderr", "-c", self.path / "nginx.conf"]


PEERS = ("haproxy", "nginx")
ALL = {proxy.name: proxy for proxy in (Tlsplice, Haproxy, Nginx, TlspliceUser, TlspliceSplice,
                                       TlspliceUringSplice, TlspliceCopy, TlspliceUncounted)}


def and_the_floor(names):
    return [*(ALL[name] for name in names), Forward]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(cpu):
    """In the child: on that processor alone (None: on any), and gone with its parent."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
