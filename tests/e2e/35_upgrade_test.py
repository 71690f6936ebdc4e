"""Promised: another program takes the place of a running one (SIGUSR2), in the same process, and nobody
notices: flows go on with the workers that they have, no connection is refused, reset or lost, the totals
go on, and so do the targets' health and what is left of their delays. A program that does not start, or does
not take the configuration, changes nothing. Checked with copies of the program put where the service was
started from, and with clients that verify every byte."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import harness
from certificates import certificates
from harness import (Proxy, group, process_exists, reserve_port, scaled, service, tcp_listener, tls_listener,
                     wait_until)
from peers import RESET, Target, TcpEnd, echoed, serve_echo, tcp_client
from traffic import ConstantLoad

UPGRADES = scaled(10, 3)


class Upgrade(unittest.TestCase):
    def setUp(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="tlsplice-e2e-")))
        folder.chmod(0o755)
        self.program = folder / "tlsplice"
        shutil.copy2(harness.PROGRAM, self.program)
        self.port = reserve_port()
        self.echo = self.enterContext(Target(serve_echo))

    def start(self, listeners=None, **top):
        config = service(listeners or [tcp_listener(self.port)], [group(self.echo)], **top)
        self.proxy = self.enterContext(Proxy(config, program=self.program))
        return self.proxy

    def install(self, content=None):
        """Another file where the program is: a copy, or this text. Another process copies: what a thread of
        this one forks meanwhile would keep the file open for writing, and so from being executed."""
        new = self.program.with_name("new")
        if content is None:
            subprocess.run(["cp", harness.PROGRAM, new], check=True)
        else:
            new.write_text(content)
            new.chmod(0o755)
        new.rename(self.program)

    def upgrade(self):
        """What the service said."""
        answers = "upgraded", "not_upgraded"
        before = {event: len(self.proxy.events(event)) for event in answers}
        self.proxy.tell(signal.SIGUSR2)
        return wait_until("an answer to SIGUSR2", lambda: next(
            (self.proxy.events(event)[-1] for event in answers
             if len(self.proxy.events(event)) > before[event]), None))

    def upgraded(self):
        said = self.upgrade()
        self.assertEqual(said["event"], "upgraded", said)

    def running_program(self):
        return os.stat(f"/proc/{self.proxy.process.pid}/exe").st_ino


class Replaced(Upgrade):
    def test_the_program_is_another_one_and_flows_go_on(self):
        proxy = self.start()
        flow = self.enterContext(tcp_client(self.port))
        self.assertTrue(echoed(flow))
        before = self.running_program()
        old = set(proxy.workers().values())
        self.install()
        self.upgraded()
        self.assertEqual(self.running_program(), self.program.stat().st_ino)
        self.assertNotEqual(self.running_program(), before)
        self.assertTrue(echoed(flow))
        with tcp_client(self.port) as new:
            self.assertTrue(echoed(new))
        self.assertFalse(old & set(proxy.workers().values()))
        proxy.wait_counters(ActiveFlowCount=1, NewFlowCount=2)
        flow.close()
        wait_until("the old workers end", lambda: not any(map(process_exists, old)))
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=2, WorkerDeathCount=0)

    def test_flows_outlive_upgrades_and_reloads_in_any_order(self):
        proxy = self.start()
        flows = []
        for step in "reload", "upgrade", "upgrade", "reload", "upgrade":
            flows.append(self.enterContext(tcp_client(self.port)))
            self.assertTrue(echoed(flows[-1]))
            if step == "reload":
                self.assertEqual(proxy.reload(), "reloaded")
            else:
                self.upgraded()
            for flow in flows:
                self.assertTrue(echoed(flow))
        total = sum(2 * 5 * (1 + len(flows) - i) for i in range(len(flows)))
        proxy.wait_counters(ActiveFlowCount=5, NewFlowCount=5, ProcessedBytes=total)
        listed = harness.run_program("flows", "-c", proxy.config_file, "--json")
        self.assertEqual(len(json.loads(listed.stdout)["Flows" if "Flows" in listed.stdout else "flows"]), 5)
        for flow in flows:
            flow.close()
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=5)

    def test_the_configuration_may_be_another_one_too(self):
        proxy, other = self.start(), reserve_port()
        listeners = [tcp_listener(other), tls_listener(self.port, certificates().leaf())]
        proxy.write_config(service(listeners, [group(self.echo)], workers=3))
        self.upgraded()
        with tcp_client(other) as connection:
            self.assertTrue(echoed(connection))
        self.assertEqual(len(proxy.workers()), 3)

    def test_a_stop_ends_what_predecessors_left(self):
        proxy = self.start(drain_timeout="300ms")
        flow = self.enterContext(tcp_client(self.port))
        self.assertTrue(echoed(flow))
        self.upgraded()
        self.assertEqual(proxy.stop(), 0)
        self.assertEqual(len(proxy.events("flow", end="cut")), 1)

    def test_the_manager_is_told_by_the_successor(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            address = f"tlsplice-test-{os.getpid()}"
            manager.bind("\0" + address)
            manager.settimeout(harness.PATIENCE)
            config = service([tcp_listener(self.port)], [group(self.echo)])
            self.proxy = self.enterContext(Proxy(config, program=self.program,
                                                 environment={"NOTIFY_SOCKET": "@" + address}))
            self.assertIn("generation 1", manager.recv(4096).decode())
            self.upgraded()
            self.assertIn("generation 2", manager.recv(4096).decode())


class Targets(Upgrade):
    """What is known of targets, and what is to become of their flows."""

    def ask(self, verb, *arguments):
        done = harness.run_program(verb, "-c", self.proxy.config_file, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def states(self):
        described = self.ask("describe-target-health", "--target-group", "app")["TargetHealthDescriptions"]
        return {f"{each['Target']['Id']}:{each['Target']['Port']}": each["TargetHealth"]["State"]
                for each in described}

    def flow_to(self, target):
        while True:
            before = target.accepted
            flow = self.enterContext(tcp_client(self.port))
            self.assertTrue(echoed(flow))
            if target.accepted > before:
                return flow

    def run_with(self, *targets, forward="app", **keys):
        self.config = service([tcp_listener(self.port, forward=forward)], [group(*targets, **keys)])
        self.proxy = self.enterContext(Proxy(self.config, program=self.program))

    def assert_reset(self, flow):
        self.assertEqual(TcpEnd(flow).rest(), (b"", RESET))

    def test_a_delay_goes_on(self):
        """Across two upgrades: nobody forgets, nobody begins anew."""
        leaves = self.enterContext(Target(serve_echo))
        delay = scaled(6, 20)
        self.run_with(self.echo, leaves,
                      deregistration_delay={"timeout": f"{delay}s", "connection_termination": True})
        flow = self.flow_to(leaves)
        began = time.monotonic()
        self.ask("deregister-targets", "--target-group", "app", "--targets", leaves.address)
        for _ in range(2):
            self.upgraded()
            self.assertEqual(self.states()[leaves.address], "draining")
            self.assertTrue(echoed(flow))
        self.assert_reset(flow)
        self.assertGreaterEqual(time.monotonic() - began, delay - 0.1)
        self.proxy.wait_events("flow", end="target_withdrawn", target=leaves.address)
        self.assertNotIn(leaves.address, self.states())

    def test_a_target_that_the_file_no_longer_has_drains(self):
        leaves = self.enterContext(Target(serve_echo))
        self.run_with(self.echo, leaves)
        flow = self.flow_to(leaves)
        self.proxy.write_config({**self.config, "target_group": [
            group(self.echo, deregistration_delay={"timeout": "1s", "connection_termination": True})]})
        self.upgraded()
        self.assert_reset(flow)

    def test_a_weight_that_the_file_has_set_to_0_ends_flows(self):
        self.run_with(self.echo, forward=[{"target_group": "app", "weight": 1}])
        flow = self.flow_to(self.echo)
        self.proxy.write_config({**self.config, "listener": [
            tcp_listener(self.port, forward=[{"target_group": "app", "weight": 0}])]})
        self.upgraded()
        self.assert_reset(flow)

    def test_health_goes_on(self):
        """Nobody is initial again: no change is said, and no flow meets the target that is down."""
        sick = f"127.0.0.1:{reserve_port()}"
        check = {"interval": "300s", "timeout": "1s", "unhealthy_threshold": 1}
        self.run_with(self.echo, sick, health_check=check)
        known = {self.echo.address: "healthy", sick: "unhealthy"}
        wait_until("both are known", lambda: self.states() == known)
        said = len(self.proxy.events("target_health"))
        for _ in range(2):
            self.upgraded()
            self.assertEqual(self.states(), known)
        for _ in range(20):
            self.flow_to(self.echo).close()
        self.proxy.wait_counters(TargetConnectionErrorCount=0)
        self.assertEqual(len(self.proxy.events("target_health")), said, "nothing has changed")


class Trouble(Upgrade):
    def test_a_worker_that_is_stopped_stays_with_its_flows(self):
        """Its sockets are known to be shut: they listen again, and connections are steered to them."""
        proxy = self.start()
        mode = proxy.events("steering")[0]["mode"]
        stopped = proxy.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        proxy.wait_events("worker_stuck", worker=0)
        self.upgraded()
        clients = [self.enterContext(tcp_client(self.port)) for _ in range(40)]
        for client in clients:
            self.assertTrue(echoed(client))
        if harness.ROOT:
            self.assertEqual({proxy.worker_of(client) for client in clients}, set(proxy.workers().values()))
        self.assertEqual(proxy.events("steering")[-1]["mode"], mode)
        os.kill(stopped, signal.SIGCONT)
        proxy.wait_events("generation_ended", generation=1)

    def test_steering_outlives_an_upgrade_that_could_not_serve(self):
        """The workers go on under the program of two predecessors before."""
        proxy = self.start()
        mode = proxy.events("steering")[0]["mode"]
        taken = self.enterContext(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        good = service([tcp_listener(self.port)], [group(self.echo)])
        proxy.write_config(service([tcp_listener(self.port), tcp_listener(taken, name="more")],
                                   [group(self.echo)]))
        for _ in range(2):
            self.assertEqual(self.upgrade()["event"], "not_upgraded")
        proxy.write_config(good)
        self.upgraded()
        self.assertEqual(proxy.events("steering")[-1]["mode"], mode)
        with tcp_client(self.port) as connection:
            self.assertTrue(echoed(connection))


class Verb(Upgrade):
    def test_it_waits_until_the_new_program_serves(self):
        proxy = self.start()
        flow = self.enterContext(tcp_client(self.port))
        self.assertTrue(echoed(flow))
        self.install()
        done = harness.run_program("upgrade", "-c", proxy.config_file)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(self.running_program(), self.program.stat().st_ino)
        self.assertTrue(proxy.events("upgraded"))
        self.assertTrue(echoed(flow))

    def test_it_says_what_was_wrong(self):
        proxy = self.start()
        self.install("#!/bin/sh\necho not today\nexit 1\n")
        done = harness.run_program("upgrade", "-c", proxy.config_file)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("not today", done.stderr)


class Refused(Upgrade):
    def test_a_program_that_does_not_work_changes_nothing(self):
        proxy = self.start()
        flow = self.enterContext(tcp_client(self.port))
        workers = proxy.workers()
        cases = {"not today": "#!/bin/sh\necho not today\nexit 1\n", "wait status": "#!/bin/sh\nexit 3\n",
                 "errno": "no program at all"}
        for word, content in cases.items():
            with self.subTest(word):
                self.install(content)
                said = self.upgrade()
                self.assertEqual(said["event"], "not_upgraded")
                self.assertIn(word, said["error"])
                self.assertEqual(proxy.workers(), workers)
                self.assertTrue(echoed(flow))
        self.install()
        self.upgraded()
        self.assertTrue(echoed(flow))

    def test_a_wrong_configuration_changes_nothing(self):
        proxy = self.start()
        workers = proxy.workers()
        proxy.config_file.write_text("nonsense = 1")
        said = self.upgrade()
        self.assertEqual(said["event"], "not_upgraded")
        self.assertIn("nonsense", said["error"])
        self.assertEqual(proxy.workers(), workers)

    def test_one_that_is_taken_and_then_cannot_serve_leaves_it_to_the_old_workers(self):
        """An address that is taken is found only on the way to serve: the file is good by itself."""
        proxy = self.start()
        taken = self.enterContext(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        good = service([tcp_listener(self.port)], [group(self.echo)])
        proxy.write_config(service([tcp_listener(self.port), tcp_listener(taken, name="more")],
                                   [group(self.echo)]))
        said = self.upgrade()
        self.assertEqual(said["event"], "not_upgraded")
        self.assertIn("in use", said["error"])
        with tcp_client(self.port) as connection:
            self.assertTrue(echoed(connection))
        self.assertEqual(proxy.reload(good), "reloaded")
        with tcp_client(self.port) as connection:
            self.assertTrue(echoed(connection))


class UnderLoad(Upgrade):
    def test_upgrades_lose_nothing(self):
        load = ConstantLoad(self)
        self.echo = load.target
        proxy = self.start(load.listeners)
        load.begin()
        for _ in range(UPGRADES):
            self.install()
            self.upgraded()
        load.end(proxy)


if __name__ == "__main__":
    harness.main()
