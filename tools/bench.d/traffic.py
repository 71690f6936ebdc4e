"""tlsplice-load, both ends of it, on a processor of their own, and the certificates."""

import contextlib
import json
import os
import signal
import subprocess
import time

from proxies import load_program, pinned

_KEYS = {"rsa": ["rsa:2048"], "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}
TLS = ["--tls", "--take-truncation"]  # nginx sends no close_notify at the end of a half-closed flow


def certificates(folder):
    """{"rsa": (chain, key), "p256": (chain, key)}, made once a month. A chain is a certificate and the one of
    its issuer, as people have them: OpenSSL goes looking for the issuer of one that stands alone, with each
    handshake, unless it is told not to (SSL_MODE_NO_AUTO_CHAIN), and not every proxy tells it."""
    made = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, key in _KEYS.items():
        chain, private = folder / f"{name}-chain.pem", folder / f"{name}.key"
        fresh = subprocess.run(["openssl", "x509", "-checkend", "86400", "-noout", "-in", chain],
                               capture_output=True, check=False).returncode == 0
        if not (fresh and private.exists()):
            issuer, issuer_key = folder / f"{name}-issuer.pem", folder / f"{name}-issuer.key"
            _certify(key, "an authority", issuer, issuer_key, [])
            _certify(key, "localhost", chain, private, ["-CA", issuer, "-CAkey", issuer_key])
            chain.write_bytes(chain.read_bytes() + issuer.read_bytes())
        made[name] = (chain, private)
    return made


def _certify(key, name, certificate, private, more):
    subprocess.run(["openssl", "req", "-x509", "-newkey", *key, "-sha256", "-nodes", "-days", "30", "-subj",
                    f"/CN={name}", "-keyout", private, "-out", certificate, *more],
                   capture_output=True, check=True)


def yields():
    """This process gets the processor only when nobody else wants it."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def goes_first():
    """It gets the processor at once. A wake-up from another processor would otherwise wait for the next tick
    while somebody computes who yields (PREEMPT_LAZY)."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        os.write(2, b"bench: may not schedule the messages first: latencies are the load's own as well\n")


class Target:
    """`with Target(...) as target:` serves on target.address."""

    def __init__(self, repository, cpu, tls=None, scheduled=None):
        command = [load_program(repository), "serve", "--listen", "127.0.0.1:0", "--stall", 3600]
        if tls:
            chain, key, suite = tls
            command += ["--tls", chain, key, "--tls-version", "1.2", "--ciphers", suite, "--take-truncation"]
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: _placed(cpu, scheduled))
        self.address = self.process.stdout.readline().rpartition(" ")[2].strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate()


def _placed(cpu, scheduled):
    pinned(cpu)
    if scheduled:
        scheduled()


def client(bench, proxy, case, scheduled=None):
    """Runs one case through the proxy, to its end; what it says of it."""
    process = start_client(bench, proxy, case, scheduled)
    output, errors = process.communicate()
    lines = output.splitlines()
    result = json.loads(lines[-1]) if lines else {"ok": False}
    if not result["ok"]:
        raise RuntimeError(f"the load failed: {' '.join(map(str, case))}: {errors}{output}")
    return result


@contextlib.contextmanager
def resting(bench, proxy, flows, settle):
    """That many flows have come up through it, and rest; `settle` seconds later."""
    client = start_client(bench, proxy, ["idle", "--flows", flows, "--concurrency", 16])
    line = client.stdout.readline()
    if line.split() != ["up", str(flows)]:
        raise RuntimeError(f"the flows did not come up through {proxy.name}: {line}{client.communicate()[1]}")
    time.sleep(settle)
    yield
    output, errors = client.communicate("\n")
    if client.returncode:
        raise RuntimeError(f"the flows did not end well through {proxy.name}: {errors}{output}")


def start_client(bench, proxy, case, scheduled=None):
    """With TLS where the proxy serves it. `scheduled`: yields or goes_first."""
    command = [load_program(bench.repository), "client", "--connect", proxy.address, "--stall", 3600,
               *(TLS if proxy.service.tls else []), *case]
    return subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            preexec_fn=lambda: _placed(bench.load_cpu, scheduled))


def openssl_speed(*arguments):
    """What OpenSSL's own benchmark says, for machines: operations or bytes a second of processor time."""
    return subprocess.run(["openssl", "speed", "-mr", "-seconds", "1", *arguments], capture_output=True,
                          text=True, check=True).stdout
