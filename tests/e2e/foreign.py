"""TLS of other houses at either end of a flow: openssl s_client, gnutls-cli and curl as clients, openssl
s_server and gnutls-serv as targets; and the kernel's own word on a connection, as ss(8) tells it. Payloads
are text lines, because these programs read their input as such."""

import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import threading

from harness import PATIENCE, reserve_port, wait_until

# What each calls a cipher: (TLS 1.3 suite, TLS 1.2 suite of OpenSSL, GnuTLS, ss). The ss of Debian 12 leaves
# the name of ChaCha20 out.
CIPHERS = {
    "AES-128-GCM": ("TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "AES-128-GCM", "aes-gcm-128"),
    "AES-256-GCM": ("TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "AES-256-GCM", "aes-gcm-256"),
    "CHACHA20": ("TLS_CHACHA20_POLY1305_SHA256", None, "CHACHA20-POLY1305", None),
}


def payload(size):
    """About that many bytes: lines of hexadecimal digits, none of which is a command of s_client's."""
    digits = os.urandom(size // 2).hex().encode()
    return b"".join(digits[begin:begin + 76] + b"\n" for begin in range(0, len(digits), 76))


def suite(version, cipher):
    """As the flow's record names it."""
    return CIPHERS[cipher][0 if version == "1.3" else 1]


def s_client(port, version, cipher):
    choice = "-ciphersuites" if version == "1.3" else "-cipher"
    return ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost",
            f"-tls{version.replace('.', '_')}", choice, suite(version, cipher), "-quiet", "-no_ign_eof"]


def priority(version, cipher):
    return f"NORMAL:-VERS-ALL:+VERS-TLS{version}:-CIPHER-ALL:+{CIPHERS[cipher][2]}"


def gnutls_cli(port, version, cipher, *arguments):
    return ["gnutls-cli", "--no-ca-verification", "--logfile=/dev/null", f"--port={port}",
            f"--priority={priority(version, cipher)}", *arguments, "127.0.0.1"]


def curl(port, version, cipher, upload):
    """Sends the file `upload` to a server that speaks HTTP."""
    choice = "--tls13-ciphers" if version == "1.3" else "--ciphers"
    return ["curl", "--silent", "--show-error", "--insecure", "--http1.1", "--header", "Expect:",
            f"--tlsv{version}", "--tls-max", version, choice, suite(version, cipher),
            "--upload-file", str(upload), f"https://127.0.0.1:{port}/"]


def exchange(command, upload, expected):
    """What a program prints on stdout, `expected` bytes of it, when it is given `upload`; its input ends only
    then. AssertionError with its stderr when it ends early."""
    with tempfile.TemporaryFile() as errors:
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)

        def feed():
            with contextlib.suppress(BrokenPipeError):
                program.stdin.write(upload)
                program.stdin.flush()
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        limit = threading.Timer(2 * PATIENCE, program.kill)
        limit.start()
        try:
            got = program.stdout.read(expected)
            feeder.join(PATIENCE)
            with contextlib.suppress(BrokenPipeError):
                program.stdin.close()
            got += program.stdout.read()
            program.wait()
        finally:
            limit.cancel()
            program.kill()
            program.wait()
            program.stdout.close()
        errors.seek(0)
        assert len(got) == expected, f"{len(got)} of {expected} bytes, status {program.returncode}: " \
                                     f"{errors.read().decode(errors='replace')[-2000:]}"
        return got


def whole(file):
    """All that a program has written so far. Not by seeking: it shares the position with us, and would write
    on wherever we left it."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class Conversation:
    """A program that is talked to line by line; stdout and stderr are one."""

    def __init__(self, command):
        self._output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._output,
                                        stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()

    def output(self):
        return whole(self._output)

    def say(self, line):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def wait_for(self, *texts):
        """Until one of them was printed; that one."""
        def found():
            output = self.output()
            return next((text for text in texts if text in output), None)
        return wait_until(lambda: f"one of {texts}:\n{self.output()}", found)


class ForeignServer:
    """A TLS target of another house on a loopback port; `address` is for the configuration."""

    def __init__(self, command):
        self.port = reserve_port()
        self.address = f"127.0.0.1:{self.port}"
        self._errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command(self.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self._errors)

    def __enter__(self):
        wait_until(lambda: f"a server on port {self.port}: {self.errors()}", self._listens)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def feed(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def errors(self):
        return whole(self._errors)

    def _listens(self):
        """Without connecting: s_server would take that for its only client."""
        local = f"{self.port:04X}"
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in pathlib.Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[1].endswith(":" + local) and columns[3] == "0A":
                    return True
        return False


def s_server(certificate, cipher):
    """Prints what it gets, sends what it is given; one connection."""
    return lambda port: ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-naccept", "1",
                         "-cert", certificate["chain"], "-key", certificate["key"], "-tls1_2", "-cipher",
                         suite("1.2", cipher)]


def gnutls_serv(certificate, version, cipher):
    """Sends back what it gets."""
    return lambda port: ["gnutls-serv", "--echo", "--quiet", "--disable-client-cert", f"--port={port}",
                         f"--x509certfile={certificate['chain']}", f"--x509keyfile={certificate['key']}",
                         f"--priority={priority(version, cipher)}"]


def kernel_word(which):
    """{"version", "cipher", "rxconf", "txconf"} of the one established connection that ss(8) finds:
    kernel_word("sport = :443"). Empty when no ULP is attached."""
    done = subprocess.run(["ss", "--tcp", "--info", "--extended", "--numeric", "--no-header", "--oneline",
                           "state", "established", f"( {which} )"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=True, timeout=PATIENCE)
    lines = done.stdout.splitlines()
    assert len(lines) == 1, f"{len(lines)} connections with {which}:\n{done.stdout}"
    told = re.search(r"tcp-ulp-tls (.*?)(?:  | \w+:\(| ts | cubic|$)", lines[0])
    return dict(re.findall(r"(\w+): (\S+)", told[1])) if told else {}


def rekeys():
    """(received, sent): re-keyings that the kernel has counted so far; zeroes where it cannot."""
    try:
        lines = pathlib.Path("/proc/net/tls_stat").read_text().splitlines()
    except FileNotFoundError:
        return 0, 0
    counted = dict(line.split() for line in lines)
    return int(counted.get("TlsRxRekeyOk", 0)), int(counted.get("TlsTxRekeyOk", 0))
