"""The proxy protocol as others have it: a parser of version 2 that owes nothing to the program, and HAProxy
and nginx as targets that take it, or as proxies that send it (Debian's packages, unpacked by tools/setup)."""

import contextlib
import ipaddress
import os
import pathlib
import subprocess
import tempfile

from harness import PATIENCE, REPOSITORY, end_with_the_test, reserve_port, wait_until
from peers import receive_exactly, tcp_client

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, NOOP, SSL = 0x01, 0x02, 0x03, 0x04, 0x20
SSL_VERSION, SSL_CIPHER = 0x21, 0x23
_ROOT = REPOSITORY / "build/bench/unpacked"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def split_tlvs(data):
    """[(type, value)]; AssertionError when they do not fill it exactly."""
    tlvs = []
    while data:
        size = int.from_bytes(data[1:3], "big")
        assert len(data) >= 3 + size, f"a TLV is cut short: {data!r}"
        tlvs.append((data[0], data[3:3 + size]))
        data = data[3 + size:]
    return tlvs


class Header:
    """A whole header, its checksum verified if it has one."""

    def __init__(self, raw):
        assert raw[:12] == SIGNATURE, f"no signature: {raw[:16]!r}"
        self.raw, self.command, self.family = raw, raw[12], raw[13]
        assert len(raw) == 16 + int.from_bytes(raw[14:16], "big"), f"{len(raw)} bytes: {raw!r}"
        ip_size = {0x11: 4, 0x21: 16}[self.family]
        tlvs_at = 16 + 2 * ip_size + 4
        ips = raw[16:16 + ip_size], raw[16 + ip_size:16 + 2 * ip_size]
        ports = raw[tlvs_at - 4:tlvs_at - 2], raw[tlvs_at - 2:tlvs_at]
        self.source, self.destination = ((str(ipaddress.ip_address(ip)), int.from_bytes(port, "big"))
                                         for ip, port in zip(ips, ports))
        self.tlvs = split_tlvs(raw[tlvs_at:])
        if (said := self.value(CRC32C)) is not None:
            at = raw.index(b"\x03\0\x04" + said, tlvs_at) + 3
            assert said == crc32c(raw[:at] + bytes(4) + raw[at + 4:]).to_bytes(4, "big"), "wrong checksum"

    def value(self, kind):
        return dict(self.tlvs).get(kind)

    def tls(self):
        """(client bits, verify, {subtype: text}) of the SSL TLV."""
        value = self.value(SSL)
        return value[0], int.from_bytes(value[1:5], "big"), dict(split_tlvs(value[5:]))


def receive_header(connection):
    head = receive_exactly(connection, 16)
    return Header(head + receive_exactly(connection, int.from_bytes(head[14:16], "big")))


class _Foreign:
    """`with Haproxy(...) as server:` runs it in the foreground until the block ends."""

    def __init__(self, program, text, ports, **files):
        self._folder = tempfile.TemporaryDirectory(prefix="tlsplice-e2e-foreign-")
        self.folder, self._ports = pathlib.Path(self._folder.name), ports
        binary = _ROOT / "usr/sbin" / program
        assert os.access(binary, os.X_OK), f"no {program} in {binary.parent}: run tools/setup"
        configuration = self.folder / "configuration"
        configuration.write_text(text.format(folder=self.folder, root=_ROOT))
        for name, content in files.items():
            (self.folder / name).write_text(content)
        libraries = sorted({str(path.parent) for path in (_ROOT / "usr/lib").rglob("*.so.*")})
        self._log = open(self.folder / "log", "wb")
        self._process = subprocess.Popen(
            [binary, *self.arguments(configuration)], stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log, env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)},
            preexec_fn=end_with_the_test)

    def __enter__(self):
        wait_until(lambda: f"ports {self._ports}: {self.log()}", self._listens)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._log.close()
        with contextlib.suppress(OSError):
            self._folder.cleanup()

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def _listens(self):
        assert self._process.poll() is None, self.log()
        with contextlib.suppress(ConnectionRefusedError):
            for port in self._ports:
                tcp_client(port).close()
            return True
        return False


class Haproxy(_Foreign):
    """Takes a header on two ports, plain and TLS, and answers HTTP/1.1 and 2 with what it understood; sends
    one of its own from a third, a TLS one, to `target`."""

    def __init__(self, certificate, target="127.0.0.1:9"):
        self.plain, self.tls, self.sender = (reserve_port() for _ in range(3))
        self.address, self.tls_address = f"127.0.0.1:{self.plain}", f"127.0.0.1:{self.tls}"
        pem = pathlib.Path(certificate["chain"]).read_text() + pathlib.Path(certificate["key"]).read_text()
        super().__init__("haproxy", self._text(target), [self.plain, self.tls, self.sender], pem=pem)

    def arguments(self, file):
        return ["-db", "-f", file]

    def _text(self, target):
        said = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority]"
        return f"""\
global
    maxconn 100
defaults
    timeout connect {PATIENCE}s
    timeout client {PATIENCE}s
    timeout server {PATIENCE}s
frontend taker
    mode http
    bind 127.0.0.1:{self.plain} accept-proxy
    bind 127.0.0.1:{self.tls} accept-proxy ssl crt {{folder}}/pem alpn h2,http/1.1
    http-request return status 200 content-type text/plain lf-string "{said}"
listen sender
    mode tcp
    bind 127.0.0.1:{self.sender} ssl crt {{folder}}/pem alpn h2,http/1.1 ciphersuites TLS_AES_128_GCM_SHA256
    server target {target} send-proxy-v2 proxy-v2-options crc32c,ssl,ssl-cipher,authority
"""


class HaproxyInFront(_Foreign):
    """Passes connections on as they are, with a header of either version in front: a port for each of
    `targets` ({name: address}) and version, `ports[name, "v1"]`."""

    def __init__(self, targets):
        self.ports = {(name, version): reserve_port() for name in targets for version in ("v1", "v2")}
        text = f"""\
global
    maxconn 100
defaults
    mode tcp
    timeout connect {PATIENCE}s
    timeout client {PATIENCE}s
    timeout server {PATIENCE}s
"""
        for (name, version), port in self.ports.items():
            option = "send-proxy" if version == "v1" else "send-proxy-v2 proxy-v2-options crc32c,unique-id"
            text += f"""\
listen {name}-{version}
    bind 127.0.0.1:{port}
    server target {targets[name]} {option}
"""
        super().__init__("haproxy", text, list(self.ports.values()))

    def arguments(self, file):
        return ["-db", "-f", file]


class Nginx(_Foreign):
    """Takes a header on two ports, plain and TLS, says what it understood before the client has said a
    word, and closes."""

    def __init__(self, certificate):
        self.plain, self.tls = reserve_port(), reserve_port()
        self.address, self.tls_address = f"127.0.0.1:{self.plain}", f"127.0.0.1:{self.tls}"
        said = ("$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr "
                "$proxy_protocol_server_port")
        super().__init__("nginx", f"""\
load_module {{root}}/usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
pid {{folder}}/nginx.pid;
error_log stderr info;
events {{{{ }}}}
stream {{{{
    ssl_certificate {certificate["chain"]};
    ssl_certificate_key {certificate["key"]};
    server {{{{
        listen 127.0.0.1:{self.plain} proxy_protocol;
        return "{said}";
    }}}}
    server {{{{
        listen 127.0.0.1:{self.tls} ssl proxy_protocol;
        return "{said}";
    }}}}
}}}}
""", [self.plain, self.tls])

    def arguments(self, file):
        return ["-p", self.folder, "-e", "stderr", "-c", file]
