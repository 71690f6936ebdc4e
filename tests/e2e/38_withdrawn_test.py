"""Promised: flows end with a target that should have none any more, as its group says: with one that turns
unhealthy at once (both sides are reset), or when it has drained, or not; with one that was deregistered when
its delay is over, or not; those of workers that retire as well; those that a listener forwards to a group
whose weight is set to 0 end, and no others. A target that drains gets no new flow and keeps what it has.
Checked with targets that go down while their flows would go on, and with the control verbs."""

import json
import socket
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, run_program, service, tcp_listener, tls_listener, wait_until
from peers import RESET, Target, TcpEnd, echoed, exchange_of, serve_echo, tcp_client, tls_client

CHECK = {"interval": "300ms", "timeout": "250ms", "healthy_threshold": 2, "unhealthy_threshold": 2}


class Withdrawn(unittest.TestCase):
    def setUp(self):
        self.ports = {"plain": reserve_port(), "web": reserve_port()}

    def start(self, *targets, **keys):
        listeners = [tcp_listener(self.ports["plain"]),
                     tls_listener(self.ports["web"], certificates().leaf())]
        self.proxy = self.enterContext(Proxy(service(listeners, [group(*targets, **keys)])))
        return self.proxy

    def ask(self, verb, *arguments):
        done = run_program(verb, "-c", self.proxy.config_file, "--target-group", "app", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def states(self):
        described = self.ask("describe-target-health")["TargetHealthDescriptions"]
        return {f"{each['Target']['Id']}:{each['Target']['Port']}": each["TargetHealth"]["State"]
                for each in described}

    def flow_to(self, target, connect=tcp_client, port="plain"):
        """A flow that this target has taken, whatever the others got meanwhile."""
        while True:
            before = target.accepted
            flow = self.enterContext(connect(self.ports[port]))
            self.assertTrue(echoed(flow))
            if target.accepted > before:
                return flow

    def assert_reset(self, flow):
        flow.settimeout(harness.PATIENCE)
        self.assertEqual(TcpEnd(flow).rest(), (b"", RESET))


class Unhealthy(Withdrawn):
    def test_flows_are_ended_at_once(self):
        sick, well = self.targets()
        doomed = [self.flow_to(sick), self.flow_to(sick)]
        secured = self.flow_to(sick, tls_client, "web")
        kept = self.flow_to(well)
        taken = sick.accepted
        self.shut_check_of(sick)
        for flow in doomed:
            self.assert_reset(flow)
        with self.assertRaises(OSError):
            secured.recv(1)
        self.assertTrue(echoed(kept))
        self.assertEqual(len(self.proxy.wait_events("flow", taken, end="target_withdrawn")), taken)
        self.open_check_of(sick)
        wait_until("it is healthy again", lambda: self.states()[sick.address] == "healthy")
        again = self.flow_to(sick)
        self.assertTrue(echoed(again))

    def test_flows_go_on_where_the_group_says_so(self):
        sick, _ = self.targets(target_health_state={"unhealthy": {"connection_termination": False}})
        flow = self.flow_to(sick)
        self.shut_check_of(sick)
        wait_until("it is unhealthy", lambda: self.states()[sick.address] == "unhealthy")
        self.assertTrue(echoed(flow))

    def test_flows_end_when_the_target_has_drained(self):
        interval = harness.scaled(3, 15)
        sick, well = self.draining_targets(f"{interval}s")
        flow, kept = self.flow_to(sick), self.flow_to(well)
        began = harness.time.monotonic()
        self.shut_check_of(sick)
        wait_until("it drains", lambda: self.states()[sick.address] == "unhealthy.draining")
        self.assertEqual(self.health_of(sick), {"State": "unhealthy.draining",
                                                "Reason": "Target.FailedHealthChecks",
                                                "Description": "Health checks failed"})
        accepted = sick.accepted
        for _ in range(20):
            with tcp_client(self.ports["plain"]) as other:
                self.assertTrue(echoed(other))
        self.assertEqual(sick.accepted, accepted)
        self.assertTrue(echoed(flow))
        self.assert_reset(flow)
        self.assertGreaterEqual(harness.time.monotonic() - began, interval)
        self.assertEqual(self.states(), {sick.address: "unhealthy", well.address: "healthy"})
        self.assertTrue(echoed(kept))
        states = [line["state"] for line in self.proxy.wait_events("target_health", 3, target=sick.address)]
        self.assertEqual(states, ["healthy", "unhealthy.draining", "unhealthy"])

    def test_a_target_that_drains_may_recover_with_its_flows(self):
        sick, _ = self.draining_targets("600s")
        flow = self.flow_to(sick)
        self.shut_check_of(sick)
        wait_until("it drains", lambda: self.states()[sick.address] == "unhealthy.draining")
        self.open_check_of(sick)
        wait_until("it is healthy again", lambda: self.states()[sick.address] == "healthy")
        self.assertTrue(echoed(flow))
        self.assertTrue(echoed(self.flow_to(sick)))

    def test_a_target_that_drains_may_be_deregistered(self):
        sick, well = self.draining_targets("600s")
        flow = self.flow_to(sick)
        self.shut_check_of(sick)
        wait_until("it drains", lambda: self.states()[sick.address] == "unhealthy.draining")
        self.ask("deregister-targets", "--targets", sick.address)
        self.assertEqual(self.states(), {sick.address: "draining", well.address: "healthy"})
        self.assertEqual(self.health_of(sick)["Reason"], "Target.DeregistrationInProgress")
        self.assertTrue(echoed(flow))

    def test_the_interval_can_be_taken_back(self):
        sick, _ = self.draining_targets("600s")
        flow = self.flow_to(sick)
        self.shut_check_of(sick)
        wait_until("it drains", lambda: self.states()[sick.address] == "unhealthy.draining")
        self.ask("modify-target-group-attributes", "--attributes",
                 "target_health_state.unhealthy.draining_interval_seconds=1")
        self.assert_reset(flow)

    def draining_targets(self, interval):
        state = {"connection_termination": False, "draining_interval": interval}
        return self.targets(target_health_state={"unhealthy": state})

    def health_of(self, target):
        described = self.ask("describe-target-health", "--targets", target.address)
        return described["TargetHealthDescriptions"][0]["TargetHealth"]

    def test_flows_go_on_where_no_target_is_healthy(self):
        sick, well = self.targets()
        flow = self.flow_to(sick)
        self.shut_check_of(well)
        wait_until("it is unhealthy", lambda: self.states()[well.address] == "unhealthy")
        self.shut_check_of(sick)
        wait_until("none is healthy", lambda: set(self.states().values()) == {"unhealthy"})
        self.assertTrue(echoed(flow))

    def targets(self, **keys):
        """Two targets on addresses of their own, whose checks go to one port that each can shut."""
        self.check_port = reserve_port()
        self.checks = {}
        targets = []
        for host in "127.0.0.2", "127.0.0.3":
            targets.append(self.enterContext(Target(serve_echo, host=host)))
            self.open_check_of(targets[-1])
        self.start(*targets, health_check={**CHECK, "port": self.check_port}, **keys)
        wait_until("both are healthy", lambda: list(self.states().values()) == ["healthy"] * 2)
        return targets

    def open_check_of(self, target):
        listener = socket.create_server((target.address.partition(":")[0], self.check_port))
        self.checks[target] = listener
        self.addCleanup(listener.close)

    def shut_check_of(self, target):
        self.checks.pop(target).close()


class Deregistered(Withdrawn):
    def test_flows_end_when_the_delay_is_over(self):
        leaves, stays = (self.enterContext(Target(serve_echo)) for _ in range(2))
        self.start(leaves, stays, deregistration_delay={"timeout": "2s", "connection_termination": True})
        doomed, kept = self.flow_to(leaves), self.flow_to(stays)
        began = harness.time.monotonic()
        self.ask("deregister-targets", "--targets", leaves.address)
        self.assertEqual(self.states(), {leaves.address: "draining", stays.address: "unavailable"})
        accepted = leaves.accepted
        for _ in range(20):
            with tcp_client(self.ports["plain"]) as flow:
                self.assertTrue(echoed(flow))
        self.assertEqual(leaves.accepted, accepted)
        self.assertTrue(echoed(doomed))
        self.assert_reset(doomed)
        self.assertGreaterEqual(harness.time.monotonic() - began, 1.9)
        self.assertTrue(echoed(kept))
        self.assertEqual(self.states(), {stays.address: "unavailable"})
        self.proxy.wait_events("flow", end="target_withdrawn", target=leaves.address)

    def test_flows_go_on_without_termination(self):
        leaves, stays = (self.enterContext(Target(serve_echo)) for _ in range(2))
        self.start(leaves, stays, deregistration_delay={"timeout": "0s"})
        flow = self.flow_to(leaves)
        self.ask("deregister-targets", "--targets", leaves.address)
        wait_until("it no longer drains", lambda: leaves.address not in self.states())
        self.assertTrue(echoed(flow))

    def test_the_last_target_may_go_and_come_back(self):
        only = self.enterContext(Target(serve_echo))
        self.start(only)
        self.ask("deregister-targets", "--targets", only.address)
        address, *met = exchange_of(self.ports["plain"])
        self.assertEqual(met, [b"", RESET])
        self.assertEqual(self.proxy.flow_of(address)["detail"], "target group app has no targets")
        self.ask("register-targets", "--targets", only.address)
        with tcp_client(self.ports["plain"]) as flow:
            self.assertTrue(echoed(flow))
        self.assertEqual(self.states(), {only.address: "unavailable"})


class Weightless(Withdrawn):
    """Both listeners forward to both groups."""

    def setUp(self):
        super().setUp()
        self.blue, self.green = (self.enterContext(Target(serve_echo)) for _ in range(2))
        self.proxy = self.enterContext(Proxy(self.config(blue=1, green=1)))
        self.doomed = [self.flow_to(self.blue), self.flow_to(self.blue)]
        self.kept = [self.flow_to(self.green), self.flow_to(self.blue, tls_client, "web")]

    def config(self, **weights):
        """Weights of the plain listener."""
        forward = [{"target_group": name, "weight": weight} for name, weight in weights.items()]
        both = [{"target_group": name, "weight": 1} for name in ("blue", "green")]
        listeners = [tcp_listener(self.ports["plain"], forward=forward),
                     tls_listener(self.ports["web"], certificates().leaf(), forward=both)]
        return service(listeners, [group(self.blue, name="blue"), group(self.green, name="green")])

    def modify(self, action):
        done = run_program("modify-listener", "-c", self.proxy.config_file, "--listener", "plain",
                           "--default-actions", action)
        self.assertEqual(done.returncode, 0, done.stderr)

    def assert_only_the_doomed_end(self):
        for flow in self.doomed:
            self.assert_reset(flow)
        self.proxy.wait_events("ending_flows", listener="plain", target_group="blue")
        self.proxy.wait_events("flow", len(self.doomed), end="target_withdrawn", listener="plain",
                               target=self.blue.address)
        for flow in self.kept:
            self.assertTrue(echoed(flow))
        ended = {(flow["listener"], flow["target"])
                 for flow in self.proxy.events("flow", end="target_withdrawn")}
        self.assertEqual(ended, {("plain", self.blue.address)})
        before = self.blue.accepted
        for _ in range(20):
            with tcp_client(self.ports["plain"]) as flow:
                self.assertTrue(echoed(flow))
        self.assertEqual(self.blue.accepted, before)

    def test_flows_end_with_a_change(self):
        self.modify("Type=forward,ForwardConfig={TargetGroups=["
                    "{TargetGroupArn=blue,Weight=0},{TargetGroupArn=green,Weight=1}]}")
        self.assert_only_the_doomed_end()

    def test_flows_end_with_a_reload(self):
        self.proxy.reload(self.config(blue=0, green=1))
        self.assert_only_the_doomed_end()

    def test_flows_of_retired_workers_end(self):
        self.proxy.reload(self.config(blue=9, green=1))
        self.doomed.append(self.flow_to(self.blue))
        self.proxy.reload(self.config(blue=0, green=1))
        self.assert_only_the_doomed_end()

    def test_flows_of_a_group_that_is_taken_out_go_on_until_its_weight_is_0(self):
        self.modify("forward=green")
        self.modify("forward=green")
        for flow in self.doomed + self.kept:
            self.assertTrue(echoed(flow))
        self.assertFalse(self.proxy.events("ending_flows"))
        self.modify("Type=forward,ForwardConfig={TargetGroups=["
                    "{TargetGroupArn=blue,Weight=0},{TargetGroupArn=green,Weight=1}]}")
        self.assert_only_the_doomed_end()


if __name__ == "__main__":
    harness.main()
