"""Promised: targets are checked as their group's health_check says, new ones take flows after the first
passed check, sick ones get none until they are well again, within the times that are configured; when too few
are well all are used; flows are shared out by weight; whatever a target answers, and when the monitor process
dies, flows and checks go on. Checked with targets that the test makes sick, and with HAProxy."""

import datetime
import os
import signal
import threading
import time
import unittest

import harness
import health_targets as targets
from certificates import certificates
from exposition import ask_promtool, request, scrape
from harness import Proxy, group, needs_root, reserve_port, scaled, service, tcp_listener, wait_until
from health_targets import Health, INTERVAL, TIMEOUT, TIMES, HttpTarget, RawTarget, answers, ask, http_check
from hello import parse_client_hello
from maps import Numbers
from peers import RESET, Target, exchange_of, serve_echo
from policies import document_policies
from proxy_headers import CRC32C, NOOP, SIGNATURE, Haproxy, crc32c, split_tlvs

SLACK = scaled(3, 10)  # of a machine that does other things as well


def seconds(line):
    """When a log line was written."""
    return datetime.datetime.fromisoformat(line["time"]).timestamp()


class States(Health):
    def goes_down_and_comes_back(self, check):
        sick, well = self.target("sick"), self.target("well")
        self.start(group(sick, well, health_check=check))
        for target in sick, well:
            self.wait_state(target, "healthy", reason="-")
        self.assertEqual(self.shares().keys(), {"sick", "well"})

        begun = time.time()
        sick.down()
        line = self.wait_state(sick, "unhealthy", reason="Target.FailedHealthChecks")
        self.assertIn("Connection refused", line["detail"])
        took = seconds(line) - begun
        self.assertGreater(took, 2 * INTERVAL - 0.1)
        self.assertLess(took, 3 * INTERVAL + TIMEOUT + SLACK)
        with self.proxy.counting(TargetConnectionErrorCount=0):
            self.assertEqual(self.shares(), {"well": 40})

        begun = time.time()
        sick.up()
        took = seconds(self.wait_state(sick, "healthy", 2)) - begun
        self.assertGreater(took, INTERVAL - 0.1)
        self.assertLess(took, 2 * INTERVAL + TIMEOUT + SLACK)
        self.assertEqual(self.shares().keys(), {"sick", "well"})
        self.assertEqual(len(self.proxy.events("target_health")), 4)

    def test_a_tcp_target_goes_down_and_comes_back(self):
        self.goes_down_and_comes_back({**TIMES, "healthy_threshold": 2})

    def test_an_http_target_goes_down_and_comes_back(self):
        self.goes_down_and_comes_back(http_check(healthy_threshold=2))

    def test_one_passed_check_is_enough_for_a_new_target(self):
        target = self.target("new")
        self.start(group(target, health_check={"healthy_threshold": 10, "interval": "30s"}))
        self.wait_state(target, "healthy")

    def test_a_group_that_is_not_checked_has_no_monitor(self):
        target = self.target(serve_echo, kind=Target)
        self.start(group(target))
        self.assertIsNone(self.proxy.monitor())
        self.assertEqual(target.accepted, 0)

    def test_a_closed_port_is_found_before_the_flows_do(self):
        """New targets that do not answer never get a flow while another one is well."""
        well = self.target("well")
        self.start(group(f"127.0.0.1:{reserve_port()}", well, health_check=TIMES))
        self.wait_state(well, "healthy")
        with self.proxy.counting(TargetConnectionErrorCount=0):
            self.assertEqual(self.shares(), {"well": 40})


class Http(Health):
    def test_request_and_matcher(self):
        target = self.target("picky")
        self.start(group(target, health_check=http_check(path="/healthz?deep=1", matcher="200,204-205",
                                                         unhealthy_threshold=1, healthy_threshold=1)))
        self.wait_state(target, "healthy")
        path, headers = target.asked[0]
        self.assertEqual(path, "/healthz?deep=1")
        self.assertEqual(headers["Host"], f"127.0.0.1:{self.port}")
        self.assertEqual(headers["Connection"], "close")
        target.status = 503
        line = self.wait_state(target, "unhealthy", reason="Target.ResponseCodeMismatch")
        self.assertEqual(line["detail"], "status 503, expected 200,204-205")
        target.status = 205
        self.wait_state(target, "healthy", 2)

    def test_https_with_any_certificate(self):
        expired = self.target("secret", certificates().leaf(expired=True))
        plain = self.target("plain")
        self.start(group(expired, plain, health_check=http_check(protocol="HTTPS", unhealthy_threshold=1)))
        self.wait_state(expired, "healthy")
        line = self.wait_state(plain, "unhealthy", reason="Target.FailedHealthChecks")
        self.assertIn("TLS handshake: ", line["detail"])
        self.assertEqual(expired.asked[0][1]["Host"], f"127.0.0.1:{self.port}")

    def test_no_answer_harms_the_monitor(self):
        """Each of these fails its check, for the reason that is to be expected."""
        failed = "Target.FailedHealthChecks"
        hostile = {"endless_headers": (failed, "longer than 16 KiB"),
                   "endless_line": (failed, "longer than 16 KiB"),
                   "interim_for_ever": (failed, "longer than 16 KiB"),
                   "drop_by_drop": ("Target.Timeout", "no response within"),
                   "silent": ("Target.Timeout", "no response within"),
                   "garbage": (failed, "its first line is none of HTTP/1"),
                   "hang_up": (failed, "read the response: "),
                   "hang_up_hard": (failed, "Connection reset by peer")}
        made = {name: self.target(getattr(targets, name), kind=RawTarget) for name in hostile}
        well, secret = self.target("well"), self.target(targets.garbage, kind=RawTarget)
        metrics = reserve_port()
        check = http_check(unhealthy_threshold=2)
        self.start(group(well, *made.values(), health_check=check),
                   group(secret, name="tls", health_check={**check, "protocol": "HTTPS"}),
                   forward=[{"target_group": "app", "weight": 1}, {"target_group": "tls", "weight": 0}],
                   metrics={"address": f"127.0.0.1:{metrics}"})
        monitor = wait_until("the monitor", self.proxy.monitor)
        for name, (reason, detail) in hostile.items():
            with self.subTest(name):
                line = self.wait_state(made[name], "unhealthy")
                self.assertEqual(line["reason"], reason)
                self.assertIn(detail, line["detail"])
        self.assertIn("TLS handshake: ", self.wait_state(secret, "unhealthy")["detail"])
        before = {name: target.accepted for name, target in made.items()}
        wait_until("further checks of all",
                   lambda: all(target.accepted > before[name] + 2 for name, target in made.items()))
        self.assertEqual(request(metrics, "/healthz").status, 200)
        self.assertEqual(self.proxy.monitor(), monitor)
        self.assertFalse(self.proxy.events("monitor_died"))
        self.wait_state(well, "healthy")
        self.assertEqual(self.shares(20), {"well": 20})

    def test_a_slow_answer_is_as_good(self):
        """Also at first, when the second check comes at a random time."""
        def serve(connection):
            connection.recv(4096)
            time.sleep(TIMEOUT / 2)
            connection.sendall(b"HTTP/1.0 200\n\n")
        made = [self.target(serve, kind=RawTarget) for _ in range(8)]
        self.start(group(*made, health_check=http_check(unhealthy_threshold=1)))
        wait_until("further checks of all", lambda: all(target.accepted > 2 for target in made))
        self.assertEqual({line["state"] for line in self.proxy.events("target_health")}, {"healthy"})

    def test_a_large_answer_is_as_good(self):
        def serve(connection):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 200\n\n" + bytes(4 << 20))
        target = self.target(serve, kind=RawTarget)
        self.start(group(target, health_check=http_check()))
        self.wait_state(target, "healthy")
        wait_until("more checks", lambda: target.accepted > 3)
        self.assertEqual(len(self.proxy.events("target_health")), 1)


class FailOpen(Health):
    def test_all_unhealthy_means_all_are_used(self):
        made = [self.target("one"), self.target("two")]
        self.start(group(*made, health_check=http_check(unhealthy_threshold=2, healthy_threshold=1)))
        for target in made:
            self.wait_state(target, "healthy")
            target.status = 500
        for target in made:
            self.wait_state(target, "unhealthy")
        self.proxy.wait_events("target_group_fail_open", target_group="app", healthy=0, targets=2)
        self.assertEqual(self.shares().keys(), {"one", "two"})
        made[1].status = 200
        self.wait_state(made[1], "healthy", 2)
        self.proxy.wait_events("target_group_fail_open_over", target_group="app", healthy=1)
        self.assertEqual(self.shares(), {"two": 40})

    def test_nobody_is_well_from_the_start(self):
        """The flows are tried nevertheless."""
        self.start(group(f"127.0.0.1:{reserve_port()}", health_check={**TIMES, "unhealthy_threshold": 1}))
        self.proxy.wait_events("target_group_fail_open", target_group="app", healthy=0, targets=1)
        with self.proxy.counting(TargetConnectionErrorCount=1):
            self.assertIsNone(ask(self.port))

    def test_minimum_healthy_targets(self):
        for minimum in {"count": 2}, {"percentage": 51}:
            with self.subTest(minimum):
                made = [self.target("one"), self.target("two")]
                made[0].status = 500
                routing = {"unhealthy_state_routing": {"minimum_healthy_targets": minimum}}
                self.start(group(*made, target_group_health=routing,
                                 health_check=http_check(unhealthy_threshold=2)))
                self.wait_state(made[0], "unhealthy")
                self.wait_state(made[1], "healthy")
                self.assertEqual(self.shares().keys(), {"one", "two"})


class Weights(Health):
    def weighted(self, **weights):
        self.start(*(group(self.target(name), name=name) for name in weights),
                   forward=[{"target_group": name, "weight": weight} for name, weight in weights.items()])

    def test_flows_follow_the_weights(self):
        self.weighted(blue=90, green=10, black=0)
        count = scaled(1000, 300)
        shares = self.shares(count)
        # Binomial with p = 0.1: five standard deviations to each side.
        deviation = (count * 0.1 * 0.9) ** 0.5
        self.assertAlmostEqual(shares["green"], count / 10, delta=5 * deviation)
        self.assertEqual(shares["blue"] + shares["green"], count)

    def refused(self, detail):
        address, data, end = exchange_of(self.port)
        self.assertEqual((data, end), (b"", RESET))
        flow = self.proxy.flow_of(address)
        self.assertEqual((flow["end"], flow["detail"]), ("target_refused", detail))

    def test_all_weights_zero(self):
        self.weighted(blue=0, green=0)
        self.refused("every weight of default_action is 0")

    def test_an_empty_group(self):
        self.start(group(health_check=TIMES))
        self.refused("target group app has no targets")


class Introduced(Health):
    """With proxy_protocol_v2 checks begin with the header LOCAL, as the load balancer's do."""

    def start(self, *made, **check):
        """The first check comes at once, and has time."""
        patient = {"interval": "20s", "timeout": "20s", **check}
        super().start(group(*made, proxy_protocol_v2={"enabled": True}, health_check=patient))

    def expect_local(self, raw):
        self.assertEqual(raw[:16], SIGNATURE + b"\x20\x11\0\x54")
        tlvs = split_tlvs(raw[16:100])
        self.assertEqual([(kind, len(value)) for kind, value in tlvs], [(CRC32C, 4), (NOOP, 74)])
        self.assertEqual(tlvs[0][1], crc32c(raw[:19] + bytes(4) + raw[23:100]).to_bytes(4, "big"))

    def expect_flows_hello(self, hello):
        """What a flow's connection to a TLS target offers, without a name, ALPN or a ticket."""
        policy = next(p for p in document_policies() if p.name == "ELBSecurityPolicy-2016-08")
        suites, session_id, extensions = parse_client_hello(hello)
        self.assertEqual(suites, [*policy.ciphers, 0xFF])  # which is "no renegotiation" (RFC 5746)
        self.assertEqual((session_id, extensions.keys() & {0, 16, 35, 43, 51}), (b"", set()))

    def test_haproxy_takes_it(self):
        """It refuses a connection without one, and answers HTTP only behind one."""
        haproxy = self.enterContext(Haproxy(certificates().leaf()))
        for protocol, port in ("HTTP", haproxy.plain), ("HTTPS", haproxy.tls):
            with self.subTest(protocol):
                self.start(haproxy, protocol=protocol, port=port, unhealthy_threshold=1)
                self.assertEqual(self.proxy.wait_events("target_health")[0]["state"], "healthy")

    def test_byte_for_byte(self):
        for protocol, then in ("TCP", b""), ("HTTP", b"GET / HTTP/1.1\r\n"), ("HTTPS", b"\x16\x03\1"):
            with self.subTest(protocol):
                got, ended = [], threading.Event()

                def keep(connection, got=got, ended=ended):
                    got.append(data := bytearray())
                    while block := connection.recv(4096):
                        data += block
                    ended.set()
                self.start(self.target(keep, kind=RawTarget), protocol=protocol)
                raw = wait_until("a check", lambda got=got, size=100 + len(then): got and len(got[0]) >= size
                                 and bytes(got[0]))
                self.expect_local(raw)
                self.assertEqual(raw[100:100 + len(then)], then)
                if protocol == "HTTPS":
                    self.expect_flows_hello(raw[100:])
                if protocol == "TCP":
                    self.assertTrue(ended.wait(harness.PATIENCE))
                    self.assertEqual(len(got[0]), 100)


class Process(Health):
    def test_the_monitors_death_changes_nobodys_state(self):
        sick, well = self.target("sick"), self.target("well")
        sick.status = 500
        self.start(group(sick, well, health_check=http_check(unhealthy_threshold=2, healthy_threshold=1)))
        self.wait_state(sick, "unhealthy")
        self.wait_state(well, "healthy")
        monitor = self.proxy.monitor()
        os.kill(monitor, signal.SIGKILL)
        self.proxy.wait_events("monitor_died")
        self.assertEqual(self.shares(20), {"well": 20})
        wait_until("another monitor", lambda: self.proxy.monitor() not in (None, monitor))
        checked = len(sick.asked)
        wait_until("further checks", lambda: len(sick.asked) > checked + 2)
        self.assertEqual(len(self.proxy.events("target_health")), 2)
        sick.status = 200
        self.wait_state(sick, "healthy")


class Shown(Numbers):
    @needs_root
    def test_maps_tables_and_metrics(self):
        sick, well = (self.enterContext(HttpTarget(name)) for name in ("sick", "well"))
        sick.status = 500
        metrics = reserve_port()
        begun = int(time.time())
        self.start([tcp_listener(reserve_port())],
                   [group(sick, well, health_check=http_check(unhealthy_threshold=1)),
                    group(well, name="idle"), group(name="empty", health_check=TIMES)],
                   metrics={"address": f"127.0.0.1:{metrics}"})
        wait_until("both states", lambda: {row["state"] for row in self.rows("target_health")} ==
                   {"unhealthy", "healthy", "unused"})
        first, second, third = self.rows("target_health")
        self.assertEqual((first["target"], first["reason"]), (sick.address, "Target.ResponseCodeMismatch"))
        self.assertEqual((second["target"], second["reason"]), (well.address, ""))
        self.assertEqual((third["target_group"], third["reason"]), ("idle", "Target.NotInUse"))
        self.assertTrue(begun <= first["changed_at"] <= first["checked_at"] <= time.time())
        self.assertGreater(first["FailedCheckCount"], 0)
        app, idle, empty = self.rows("target_groups")
        counts = [app[name] for name in ("HealthyHostCount", "UnHealthyHostCount", "fail_open", "checked")]
        self.assertEqual(counts, [1, 1, 0, 1])
        self.assertEqual((app["usable"][0], idle["usable"][0], empty["usable"][0]), (0b10, 0b1, 0))
        table = (self.folder / "target_health_table").read_text().splitlines()
        self.assertEqual(table[1].split()[:4],
                         ["app", sick.address, "unhealthy", "Target.ResponseCodeMismatch"])
        self.assertEqual(table[2].split()[2:4], ["healthy", "-"])
        self.assertEqual((self.folder / "target_groups_table").read_text().splitlines()[1].split(),
                         ["app", "2", "1", "1", "0", "1"])
        page = scrape(metrics)
        self.assertEqual(page.sum("tlsplice_target_group_healthy_hosts", target_group="app"), 1)
        self.assertEqual(page.sum("tlsplice_target_group_target_healthy", target=sick.address), 0)
        self.assertEqual(ask_promtool("check", "metrics", text=page.text), (0, ""))


def setUpModule():
    """The target flaps from now on: its minute passes while the other cases have theirs."""
    Wobbly.begin()


class Wobbly(unittest.TestCase):
    """The last class by name."""
    @classmethod
    def begin(cls):
        cls.target = unittest.enterModuleContext(HttpTarget("moody"))
        cls.target.next_status = lambda: 200 if len(cls.target.asked) % 2 else 500
        cls.metrics = reserve_port()
        often = http_check(interval="200ms", timeout="200ms", unhealthy_threshold=1, healthy_threshold=1)
        cls.proxy = unittest.enterModuleContext(
            Proxy(service([tcp_listener(reserve_port())], [group(cls.target, health_check=often)],
                          metrics={"address": f"127.0.0.1:{cls.metrics}"})))

    def test_a_flapping_target_is_summed_up(self):
        wait_until("many changes", lambda: scrape(self.metrics).sum(
            "tlsplice_target_group_health_change_count_total", target=self.target.address) > 20)
        line = self.proxy.wait_events("target_health_flapping", timeout=60 + harness.PATIENCE)[0]
        self.assertGreater(int(line["further_changes"]), 20)
        self.assertEqual(line["target"], self.target.address)
        said = [event for event in self.proxy.events("target_health") if seconds(event) < seconds(line)]
        self.assertEqual(len(said), 4)


if __name__ == "__main__":
    harness.main()
