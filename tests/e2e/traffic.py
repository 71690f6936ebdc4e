"""Traffic of tlsplice-load, whose both ends verify every byte and every end: single clients, a target, and a
constant load of new and long-lived flows that must not notice what the test does meanwhile."""

import json
import os
import pathlib
import signal
import subprocess
import threading

import harness
from certificates import certificates
from harness import reserve_port, scaled, tcp_listener, tls_listener

LOAD = os.environ.get("TLSPLICE_LOAD") or str(pathlib.Path(harness.PROGRAM).with_name("tlsplice-load"))
POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
RESTING = 50


def start(*arguments, **options):
    return subprocess.Popen([LOAD, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                            preexec_fn=harness.end_with_the_test, **{"stdin": subprocess.DEVNULL, **options})


class Serve:
    """A target: `with Serve(...) as target:`; stop() ends it and gives its exit status and results."""

    def __init__(self, *arguments, stall=60, host="127.0.0.1"):
        self.process = start("serve", "--listen", f"{host}:0", "--stall", stall, *arguments)
        self.address = self.process.stdout.readline().rpartition(" ")[2].strip()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=harness.PATIENCE)
        return self.process.returncode, json.loads(output.splitlines()[-1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class ConstantLoad:
    """A TLS and a TCP listener in front of one target; once begun, flows that rest and clients that start
    anew whenever they are done. end() has the last word: nobody may have noticed anything."""

    def __init__(self, test, **target):
        self.test, self.target = test, test.enterContext(Serve(**target))
        self.web, self.plain = reserve_port(), reserve_port()
        self.listeners = [tls_listener(self.web, certificates().leaf(), name="web", ssl_policy=POLICY),
                          tcp_listener(self.plain)]
        self._over, self._statuses, self._threads = threading.Event(), [], []

    def begin(self):
        self._resting = start("client", "--connect", f"127.0.0.1:{self.web}", "--tls", "idle",
                              "--flows", RESTING, stdin=subprocess.PIPE)
        self.test.assertEqual(self._resting.stdout.readline().strip(), f"up {RESTING}")
        for port, *case in (
                (self.web, "--tls", "soak", "--flows", scaled(100, 20), "--concurrency", 10),
                (self.plain, "soak", "--flows", scaled(200, 40), "--concurrency", 10),
                (self.web, "--tls", "handshakes", "--count", scaled(50, 10), "--concurrency", 4),
                (self.plain, "messages", "--seconds", 2, "--connections", 8)):
            self._threads.append(threading.Thread(target=self._run, args=(port, case), daemon=True))
            self._threads[-1].start()

    def _run(self, port, case):
        while not self._over.is_set():
            client = start("client", "--connect", f"127.0.0.1:{port}", *case)
            output, _ = client.communicate(timeout=3 * harness.PATIENCE)
            self._statuses.append(client.returncode)
            if client.returncode:
                return print(output)

    def end(self, proxy):
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._resting.communicate("\n", timeout=harness.PATIENCE)
        self.test.assertEqual((self._resting.returncode, set(self._statuses)), (0, {0}))
        self.test.assertGreaterEqual(len(self._statuses), len(self._threads))
        status, result = self.target.stop()
        self.test.assertEqual(status, 0, result)
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=result["flows"], WorkerDeathCount=0,
                            TargetConnectionErrorCount=0, ClientTLSNegotiationErrorCount=0)
