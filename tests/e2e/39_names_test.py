"""Promised: targets may be host names. Flows go to the addresses that /etc/hosts or DNS has of them; when
those change, new flows follow and running ones stay, and an address that is gone drains like a deregistered
target. A name server that fails, lies or says nothing takes no target away, fills no log and keeps no service
from its start. The control verbs, the reload and the upgrade know names too. Checked with a name server of
the test's own on a host of its own, and with clients that verify every byte while addresses come and go."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import harness
from harness import (Proxy, assert_unprivileged, group, reserve_port, run_program, scaled, service,
                     tcp_listener, toml, wait_until)
from name_server import Named
from peers import RESET, Target, echoed, exchange_of, receive_line, serve_echo, tcp_client
from processes import process_exists
from traffic import ConstantLoad

NAME = "app.test"
ABSENT = 30  # seconds for which answers must lack an address


def says(text):
    """A target that says its name, then echoes."""
    def serve(connection):
        connection.sendall(text.encode() + b"\n")
        return serve_echo(connection)
    return serve


class Names(Named):
    def setUp(self):
        super().setUp()
        self.port = reserve_port()
        self.target_port = reserve_port()

    def targets(self, *numbers):
        """Targets on 127.0.0.<number>, all on one port."""
        for number in numbers:
            self.enterContext(Target(says(str(number)), host=f"127.0.0.{number}", port=self.target_port))

    def resolves(self, *numbers, name=NAME):
        self.dns.names[name] = [f"127.0.0.{number}" for number in numbers]

    def config(self, *targets, **keys):
        targets = targets or [f"{NAME}:{self.target_port}"]
        return service([tcp_listener(self.port)], [group(*targets, **keys)])

    def flow(self):
        """A new flow, and the number of its target."""
        connection = self.enterContext(tcp_client(self.port))
        return connection, int(receive_line(connection))

    def reached(self, flows=40):
        seen = set()
        for _ in range(flows):
            connection, number = self.flow()
            connection.close()
            seen.add(number)
        return seen

    def wait_reached(self, *numbers, timeout=harness.PATIENCE):
        wait_until(f"flows to {numbers}", lambda: self.reached() == set(numbers), timeout, 0.1)

    def ask(self, verb, *arguments):
        done = run_program(verb, "-c", self.proxy.config_file, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def health(self, *targets):
        """{(id, name): (state, reason)}"""
        rows = self.ask("describe-target-health", "--target-group", "app",
                        *(["--targets", *targets] if targets else []))["TargetHealthDescriptions"]
        return {(row["Target"]["Id"], row["Target"].get("Name")):
                (row["TargetHealth"]["State"], row["TargetHealth"].get("Reason")) for row in rows}


class Following(Names):
    def test_new_flows_follow_and_what_is_gone_drains(self):
        self.targets(2, 3)
        self.resolves(2)
        check = {"protocol": "TCP", "interval": "1s", "timeout": "1s"}
        proxy = self.start(self.config(health_check=check, deregistration_delay={
            "timeout": "3s", "connection_termination": True}))
        flow, number = self.flow()
        self.assertEqual(number, 2)
        self.resolves(3)
        changed = time.monotonic()
        proxy.wait_events("name", name=NAME, addresses="127.0.0.2 127.0.0.3")
        wait_until("both healthy", lambda: self.health() == {
            ("127.0.0.2", NAME): ("healthy", None), ("127.0.0.3", NAME): ("healthy", None)}, every=0.1)
        self.wait_reached(2, 3)  # for as long as the first one may come back
        self.wait_reached(3, timeout=ABSENT + harness.PATIENCE)
        self.assertGreater(time.monotonic() - changed, ABSENT - 2)
        self.assertTrue(echoed(flow))
        self.assertEqual(self.health()["127.0.0.2", None], ("draining", "Target.DeregistrationInProgress"))
        address = flow.getsockname()
        self.assertEqual(proxy.flow_of(address)["end"], "target_withdrawn")
        self.assertEqual(self.health(), {("127.0.0.3", NAME): ("healthy", None)})

    def test_answers_that_rotate_change_nothing(self):
        self.targets(2, 3)
        self.resolves(2, 3)
        proxy = self.start(self.config())
        self.wait_reached(2, 3)
        asked = self.dns.asked
        for number in (2, 3) * 3:
            self.resolves(number)
            wait_until("another question", lambda: self.dns.asked >= asked + 4)
            asked = self.dns.asked
        self.assertEqual(len(proxy.events("name")), 1)
        self.assertEqual(len(proxy.events("serving")), 1)
        self.assertEqual(self.reached(), {2, 3})

    def test_a_constant_load_notices_no_change(self):
        load = ConstantLoad(self, host="0.0.0.0")
        port = load.target.address.rpartition(":")[2]
        self.resolves(2)
        proxy = self.start(service(load.listeners, [group(f"{NAME}:{port}")]))
        load.begin()
        for change in range(1, 11):
            self.resolves(*range(2, 3 + change))
            proxy.wait_events("serving", 1 + change, timeout=2 * harness.PATIENCE)
        self.assertEqual(len(self.health()), 11)
        load.end(proxy)

    def test_rules_and_workers_of_preserved_clients_follow(self):
        self.resolves(2)
        self.start(self.config(preserve_client_ip={"enabled": True}))

        def rules():
            return {number for number in range(2, 5) if f"from 127.0.0.{number} " in self.host.ip("rule")}
        self.assertEqual(rules(), {2})
        self.resolves(2, 4)
        wait_until("rules for both", lambda: rules() == {2, 4})


class Failing(Names):
    def test_what_is_known_stays(self):
        self.targets(2)
        self.resolves(2)
        proxy = self.start(self.config())
        for what, questions in ((None, 8), ([], 2)):  # of two lookups, of one
            self.dns.names[NAME] = what
            asked = self.dns.asked
            wait_until("more questions", lambda: self.dns.asked >= asked + questions)
        self.assertEqual(len(proxy.wait_events("name_not_resolved", name=NAME)), 1, "said once")
        self.assertEqual(self.reached(), {2})
        self.resolves(2)
        proxy.wait_events("name_resolved", name=NAME, timeout=ABSENT + harness.PATIENCE)
        self.assertEqual(len(proxy.events("serving")), 1)

    def test_no_service_waits_for_a_name_for_long(self):
        for what in ([], None):
            with self.subTest(what), Proxy(self.config(), prefix=self.prefix) as self.proxy:
                self.assertEqual(exchange_of(self.port)[1:], (b"", RESET))
                self.assertEqual(self.health(), {(NAME, None): ("unavailable", "Elb.InternalError")})
                self.dns.names[NAME] = ["127.0.0.2"]
                old_workers = self.proxy.workers().values()
                with Target(says("2"), host="127.0.0.2", port=self.target_port):
                    self.proxy.wait_events("serving", 2, timeout=ABSENT + harness.PATIENCE)
                    wait_until("the end of those who know no target",
                               lambda: not any(map(process_exists, old_workers)))
                    self.assertEqual(self.reached(2), {2})
            self.dns.names[NAME] = None

    def test_other_targets_of_the_group_serve_meanwhile(self):
        self.targets(5)
        self.start(self.config(f"{NAME}:{self.target_port}", f"127.0.0.5:{self.target_port}"))
        self.assertEqual(self.reached(), {5})

    def test_no_answer_leads_flows_anywhere(self):
        self.targets(2)
        self.dns.names[NAME] = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.2",
                                "::", "::ffff:127.0.0.1", "ff02::1"]
        proxy = self.start(self.config())
        self.assertEqual(self.reached(), {2})
        self.assertEqual(set(self.health()), {("127.0.0.2", NAME)})
        refused = proxy.wait_events("addresses_refused", name=NAME)[0]["addresses"].split()
        self.assertEqual(set(refused), set(self.dns.names[NAME]) - {"127.0.0.2"})
        wait_until("more questions", lambda: self.dns.asked >= 8)
        self.assertEqual(len(proxy.events("addresses_refused")), 1)

    def test_more_addresses_than_a_name_may_have(self):
        with open(self.hosts, "a") as hosts:
            hosts.writelines(f"127.0.0.{number} {NAME}\n" for number in range(1, 101))
        proxy = self.start(self.config())
        self.assertEqual(len(self.health()), 64)
        self.assertEqual(proxy.wait_events("addresses_left_out", name=NAME)[0]["count"], "36")

    def test_the_resolvers_death_changes_nothing(self):
        self.targets(2)
        self.resolves(2)
        proxy = self.start(self.config())
        first = proxy.resolver()
        assert_unprivileged(self, first, "nobody")
        links = [os.readlink(f"/proc/{first}/fd/{name}") for name in os.listdir(f"/proc/{first}/fd")]
        self.assertLess(len(links), 12, links)
        os.kill(first, signal.SIGKILL)
        wait_until("another one", lambda: proxy.resolver() not in (None, first))
        self.assertEqual(self.reached(), {2})
        self.targets(3)
        self.resolves(2, 3)
        self.wait_reached(2, 3)


class Changing(Names):
    def test_the_hosts_file_is_first(self):
        self.targets(2, 3)
        self.resolves(3, name="pinned.test")
        with open(self.hosts, "a") as hosts:
            hosts.write("127.0.0.2 pinned.test\n")
        self.start(self.config(f"pinned.test:{self.target_port}"))
        self.assertEqual(self.reached(), {2})
        with open(self.hosts, "a") as hosts:
            hosts.write("127.0.0.3 pinned.test\n")
        self.wait_reached(2, 3, timeout=2 * harness.PATIENCE)

    def test_reloads_with_names(self):
        self.targets(2, 3)
        self.resolves(2)
        self.resolves(3, name="other.test")
        proxy = self.start(self.config(f"127.0.0.3:{self.target_port}"))
        self.assertIsNone(proxy.resolver())
        flow, number = self.flow()
        self.assertEqual(number, 3)
        for targets, reached in (([f"{NAME}:{self.target_port}"], {2}),
                                 ([f"{NAME}:{self.target_port}", f"other.test:{self.target_port}"], {2, 3})):
            self.assertEqual(proxy.reload(self.config(*targets)), "reloaded")
            self.assertEqual(self.reached(), reached, "at once: it has waited for the names")
        first = proxy.resolver()
        self.assertEqual(proxy.reload(self.config(f"{NAME}:{self.target_port}", "other_.test:80", "-x:80")),
                         "not_reloaded")
        self.assertIn("a hyphen stands at the beginning", proxy.events("not_reloaded")[-1]["error"])
        self.assertEqual(proxy.resolver(), first)
        self.assertEqual(proxy.reload(self.config(f"127.0.0.3:{self.target_port}")), "reloaded")
        wait_until("no resolver", lambda: proxy.resolver() is None)
        self.assertEqual(self.reached(), {3})
        self.assertTrue(echoed(flow))

    def test_check_asks_nobody(self):
        config = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "tlsplice.toml"
        config.write_text(toml(self.config(f"{NAME}:80", "127.0.0.2:80")))
        done = subprocess.run([*self.prefix, harness.PROGRAM, "check", "-c", config], capture_output=True,
                              text=True, timeout=harness.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("app (TCP, 2 targets)", done.stdout)
        self.assertIn(f"{NAME}:80", done.stdout)
        self.assertEqual(self.dns.asked, 0)

    def test_the_verbs_take_names(self):
        self.targets(2, 3)
        self.resolves(2)
        self.start(self.config(f"127.0.0.3:{self.target_port}"))
        self.ask("register-targets", "--target-group", "app", "--targets",
                 f"Id=APP.test,Port={self.target_port}")
        self.assertEqual(self.reached(), {2, 3})
        unavailable = ("unavailable", "Target.HealthCheckDisabled")
        registered = {("127.0.0.3", None): unavailable, ("127.0.0.2", NAME): unavailable}
        self.assertEqual(self.health(), registered)
        for target in f"{NAME}:{self.target_port}", f"127.0.0.2:{self.target_port}":
            self.assertEqual(self.health(target), {("127.0.0.2", NAME): unavailable})
        self.assertEqual(self.health("other.test:1"),
                         {("other.test", None): ("unused", "Target.NotRegistered")})
        self.ask("deregister-targets", "--target-group", "app", "--targets", f"{NAME}:{self.target_port}")
        self.assertEqual(self.reached(), {3})
        self.assertEqual(self.health()["127.0.0.2", None], ("draining", "Target.DeregistrationInProgress"))

    def test_an_upgrade_needs_no_name_server(self):
        self.targets(2)
        self.resolves(2)
        proxy = self.start(self.config())
        flow, _ = self.flow()
        self.dns.names[NAME] = None
        proxy.wait_events("name_not_resolved")
        proxy.tell(signal.SIGUSR2)
        proxy.wait_events("upgraded", timeout=2 * harness.PATIENCE)
        self.assertEqual(self.reached(), {2})
        self.assertTrue(echoed(flow))
        self.assertEqual(set(self.health()), {("127.0.0.2", NAME)})

    def test_a_stop_does_not_wait_for_names(self):
        self.resolves(2)
        proxy = self.start(self.config())
        self.dns.names["slow.test"] = None
        proxy.write_config(self.config("slow.test:80"))
        proxy.tell(signal.SIGHUP)
        proxy.wait_events("resolving", names=1)
        begun = time.monotonic()
        self.assertEqual(proxy.stop(), 0)
        self.assertLess(time.monotonic() - begun, scaled(3, 10))


if __name__ == "__main__":
    harness.main()
