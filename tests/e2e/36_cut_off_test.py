"""Promised: a target whose wire is cut costs new connections at most the connect timeout, because the other
target gets them; one to which there is no way costs nothing. Flows to the other target do not notice; flows
to the cut one lose no byte and go on by themselves when the wire is whole again, and so do new connections
to it. Checked between hosts of the test's own, two targets on wires of their own."""

import hashlib
import os
import threading
import time

import harness
from harness import Proxy, group, service, tcp_listener, wait_until
from hosts import PORTS, PROXY, TARGET, Network, wire
from peers import Target, TcpEnd, echoed, receive_exactly, receive_line, serve_echo

OTHER, OTHER_GATEWAY = "10.71.3.2", "10.71.3.1"
TIMEOUT = 1.0  # seconds: connect_timeout
SLACK = harness.scaled(0.7, 3)
CONNECTIONS = 12
OUTAGE = 2  # seconds
BULK = harness.scaled(20_000_000, 3_000_000)


def named(name):
    """A target that says who it is, then sends everything back."""
    def serve(connection):
        connection.sendall(name + b"\n")
        return serve_echo(connection)
    return serve


class CutOff(Network):
    def setUp(self):
        super().setUp()
        self.cut_host = self.host()
        wire(self.cut_host, "wire", self.proxy_host, "others")
        self.cut_host.address("wire", f"{OTHER}/24")
        self.proxy_host.address("others", f"{OTHER_GATEWAY}/24")
        with self.target_host:
            self.near = self.enterContext(Target(named(b"near"), host=TARGET[4]))
        with self.cut_host:
            self.cut = self.enterContext(Target(named(b"cut"), host=OTHER))
        with self.proxy_host:
            targets = group(self.near, self.cut, connect_timeout=f"{int(TIMEOUT * 1000)}ms")
            listener = tcp_listener(PORTS["TCP"], host=PROXY[4])
            self.proxy = self.enterContext(Proxy(service([listener], [targets], drain_timeout="1s")))

    def flow(self):
        """A new one: (its socket, which target has it, after how many seconds)."""
        began = time.monotonic()
        connection = self.connect()
        return connection, receive_line(connection).decode(), time.monotonic() - began

    def flow_to(self, name):
        def try_once():
            connection, target, _ = self.flow()
            if target == name:
                return connection
            connection.close()
            return None
        return wait_until(f"a flow to {name}", try_once)

    def errors(self):
        return self.proxy.counters()["TargetConnectionErrorCount"]

    def expect_all_near(self, slowest):
        """Every new connection is served; by how many the cut target was tried first."""
        before = self.errors()
        flows = [self.flow() for _ in range(CONNECTIONS)]
        self.assertEqual({target for _, target, _ in flows}, {"near"})
        self.assertLess(max(seconds for _, _, seconds in flows), slowest)
        return self.errors() - before

    def expect_recovery(self, flow):
        """Of new connections to the target, and of a flow that it had before."""
        healed = time.monotonic()
        self.flow_to("cut")
        self.assertLess(time.monotonic() - healed, TIMEOUT + SLACK)
        self.assertTrue(echoed(flow))

    def test_the_other_end_is_down(self):
        near, cut = self.flow_to("near"), self.flow_to("cut")
        self.cut_host.ip("link", "set", "wire", "down")
        wait_until("one to try the cut target first", lambda: self.expect_all_near(TIMEOUT + SLACK))
        self.assertTrue(echoed(near))
        self.cut_host.ip("link", "set", "wire", "up")
        self.expect_recovery(cut)

    def test_this_end_is_down(self):
        """There is no route, so the other target is tried at once."""
        near, cut = self.flow_to("near"), self.flow_to("cut")
        self.proxy_host.ip("link", "set", "others", "down")
        wait_until("one to try the cut target first", lambda: self.expect_all_near(SLACK))
        self.assertTrue(echoed(near))
        self.proxy_host.ip("link", "set", "others", "up")
        self.expect_recovery(cut)

    def test_a_transfer_goes_on_when_the_wire_is_whole_again(self):
        payload = os.urandom(BULK)
        client = self.flow_to("cut")
        answers = []

        def receive():
            answers.append(hashlib.sha256(receive_exactly(client, BULK)).digest())
        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        sender = threading.Thread(target=client.sendall, args=(payload,), daemon=True)
        self.cut_host.ip("link", "set", "wire", "down")
        sender.start()
        time.sleep(OUTAGE)  # the outage itself
        self.assertFalse(answers)
        self.cut_host.ip("link", "set", "wire", "up")
        healed = time.monotonic()
        receiver.join(harness.PATIENCE)
        # TCP tries again at doubled intervals, so what comes after an outage is at most as long again.
        self.assertLess(time.monotonic() - healed, 2 * OUTAGE + 2 * SLACK + harness.scaled(1, 10))
        self.assertEqual(answers, [hashlib.sha256(payload).digest()])
        sender.join(harness.PATIENCE)
        TcpEnd(client).finish()
        self.assertEqual(client.recv(1), b"")


if __name__ == "__main__":
    harness.main()
