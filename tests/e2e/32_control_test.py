"""Promised: the control verbs speak the load balancer's language: what `describe-*` prints has the AWS CLI's
shape, options and shorthand are its own, errors have its codes and name everything that is wrong. What was
changed at run time counts after a restart, shows in `describe-*` and `check`, and is undone as a whole by
`reset-changes`."""

import json
import os
import pathlib
import socket
import tempfile
import unittest

import harness
from certificates import certificates
from harness import Proxy, group, reserve_port, run_program, service, tcp_listener, tls_listener, toml
from peers import Target, client_context, echoed, serve_echo, tls_client

TLS13 = "ELBSecurityPolicy-TLS13-1-3-2021-06"
OLD, NEW = "ELBSecurityPolicy-2016-08", "ELBSecurityPolicy-TLS-1-2-2017-01"


def ask(proxy, verb, *arguments):
    """The exit status, what was printed, what was complained of."""
    done = run_program(verb, "-c", proxy.config_file, *arguments)
    return done.returncode, done.stdout, done.stderr


def told(proxy, verb, *arguments):
    status, out, complaint = ask(proxy, verb, *arguments)
    assert status == 0, f"status {status}: {complaint}"
    return json.loads(out) if out else None


def weights(**groups):
    """A ForwardConfig."""
    return {"TargetGroups": [{"TargetGroupArn": f"targetgroup/{name}", "Weight": weight}
                             for name, weight in groups.items()]}


def two_of_each(**top):
    """A TLS and a TCP listener, and a target group that nobody uses."""
    return service([tls_listener(reserve_port(), certificates().leaf()), tcp_listener(reserve_port())],
                   [group("127.0.0.1:9", "127.0.0.1:10"), group("[::1]:9", name="spare")],
                   access_log={"file": "off", "load_balancer": "net/my-lb/50dc6c495c0c9188"}, **top)


class Descriptions(unittest.TestCase):
    def setUp(self):
        self.config = two_of_each()
        self.proxy = self.enterContext(Proxy(self.config))

    def test_listeners(self):
        web, plain = told(self.proxy, "describe-listeners")["Listeners"]
        forward = {"Type": "forward", "TargetGroupArn": "targetgroup/app",
                   "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "targetgroup/app", "Weight": 1}]}}
        address = self.config["listener"][0]["address"]
        self.assertEqual(web, {
            "ListenerArn": "listener/net/my-lb/50dc6c495c0c9188/web",
            "LoadBalancerArn": "loadbalancer/net/my-lb/50dc6c495c0c9188",
            "Port": int(address.rpartition(":")[2]), "Protocol": "TLS",
            "Certificates": [{"CertificateArn": str(self.config["listener"][0]["certificate"]["chain"])}],
            "SslPolicy": OLD, "DefaultActions": [forward], "AlpnPolicy": ["None"], "ListenerName": "web",
            "Address": address})
        self.assertEqual(plain["Protocol"], "TCP")
        for option, name in (("--listener", "plain"), ("--listener-arns", plain["ListenerArn"])):
            self.assertEqual(told(self.proxy, "describe-listeners", option, name), {"Listeners": [plain]})

    def test_target_groups(self):
        app, spare = told(self.proxy, "describe-target-groups")["TargetGroups"]
        self.assertEqual(app["LoadBalancerArns"], ["loadbalancer/net/my-lb/50dc6c495c0c9188"])
        self.assertEqual((app["TargetGroupName"], app["TargetType"]), ("app", "ip"))
        self.assertEqual((spare["LoadBalancerArns"], spare["IpAddressType"]), ([], "ipv6"))
        self.assertEqual(told(self.proxy, "describe-target-groups", "--names", "spare"),
                         {"TargetGroups": [spare]})

    def test_target_health(self):
        rows = told(self.proxy, "describe-target-health", "--target-group", "app")["TargetHealthDescriptions"]
        self.assertEqual([row["Target"] for row in rows],
                         [{"Id": "127.0.0.1", "Port": 9}, {"Id": "127.0.0.1", "Port": 10}])
        rows = told(self.proxy, "describe-target-health", "--target-group-arn", "targetgroup/app",
                    "--targets", "Id=::1,Port=77", "127.0.0.1:10")["TargetHealthDescriptions"]
        self.assertEqual(rows[0]["TargetHealth"]["Reason"], "Target.NotRegistered")
        self.assertEqual(rows[1]["Target"], {"Id": "127.0.0.1", "Port": 10})
        rows = told(self.proxy, "describe-target-health", "--target-group",
                    "spare")["TargetHealthDescriptions"]
        self.assertEqual(rows[0]["TargetHealth"]["State"], "unused")

    def test_attributes_are_complete(self):
        rows = told(self.proxy, "describe-target-group-attributes", "--target-group", "app")["Attributes"]
        have = {row["Key"]: row["Value"] for row in rows}
        self.assertEqual(len(have), 14)
        self.assertEqual(have["deregistration_delay.timeout_seconds"], "300")
        self.assertEqual(have["target_health_state.unhealthy.connection_termination.enabled"], "true")

    def test_tables(self):
        golden = harness.REPOSITORY / "tests/cli/describe-target-group-attributes.txt"
        self.assertEqual(ask(self.proxy, "describe-target-group-attributes", "--target-group", "app",
                             "--output", "table")[1], golden.read_text())
        for verb, row in (("describe-listeners", "||  LoadBalancerArn "),
                          ("describe-target-groups", "||  TargetType ")):
            status, out, _ = ask(self.proxy, verb, "--output", "table")
            lines = out.splitlines()
            self.assertEqual((status, {len(line) for line in lines}), (0, {len(lines[0])}))
            self.assertEqual(sum(line.startswith(row) for line in lines), 2, out)


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.proxy = cls.enterClassContext(Proxy(two_of_each()))

    def refused(self, status, said, verb, *arguments):
        have, out, complaint = ask(self.proxy, verb, *arguments)
        self.assertEqual((have, out), (status, ""), complaint)
        self.assertIn(said, complaint)

    def test_what_is_not_there(self):
        self.refused(1, 'An error occurred (ListenerNotFound) when calling the ModifyListener operation: '
                        'listeners.wbe: no listener is named "wbe", did you mean "web"?',
                     "modify-listener", "--listener", "wbe", "--ssl-policy", NEW)
        self.refused(1, "(TargetGroupNotFound)", "register-targets", "--target-group", "ap",
                     "--targets", "127.0.0.1:1")
        self.refused(1, f'(SSLPolicyNotFound) when calling the ModifyListener operation: '
                        f'listeners.web.ssl_policy: "{NEW}1" is no security policy, did you mean "{NEW}"?',
                     "modify-listener", "--listener", "web", "--ssl-policy", NEW + "1")
        self.refused(1, '(ALPNPolicyNotFound) when calling the ModifyListener operation: '
                        'listeners.web.alpn_policy: "HTTP2" is no ALPN policy, ',
                     "modify-listener", "--listener", "web", "--alpn-policy", "HTTP2")

    def test_what_is_no_text(self):
        self.refused(1, "(ListenerNotFound)", "describe-listeners", "--listener", "w\udcffb")

    def test_what_cannot_be(self):
        self.refused(1, "only for TLS listeners, and plain is a TCP listener",
                     "modify-listener", "--listener", "plain", "--ssl-policy", NEW)
        self.refused(1, "alpn_policy: only for TLS listeners",
                     "modify-listener", "--listener", "plain", "--alpn-policy", "None")
        self.refused(1, '"x" is no port', "register-targets", "--target-group", "app",
                     "--targets", "127.0.0.1:x")
        self.refused(1, '"9999" is out of range', "modify-target-group-attributes", "--target-group", "app",
                     "--attributes", "Key=deregistration_delay.timeout_seconds,Value=9999")
        self.refused(1, "(TooManyTargets)", "register-targets", "--target-group", "app",
                     "--targets", *(f"192.0.2.1:{port}" for port in range(1, 1025)))

    def test_weights_that_cannot_be(self):
        shares = ("{TargetGroupArn=app,Weight=%s},{TargetGroupArn=targetgroup/sapre,Weight=1},"
                  "{TargetGroupArn=app,Weight=2}")
        action = f"Type=forward,ForwardConfig={{TargetGroups=[{shares}]}}"
        for said in ('listeners.web.default_action.forward: no target group is named "sapre", did you mean '
                     '"spare"?', '"app" is in the list already'):
            self.refused(1, said, "modify-listener", "--listener", "web", "--default-actions", action % 1)
        for weight in "1000", "-1", "x":
            self.refused(1, "forward.weight: expected a whole number from 0 to 999", "modify-listener",
                         "--listener", "web", "--default-actions", action % weight)
        self.refused(1, "forward.weight: missing", "modify-listener", "--listener", "web",
                     "--default-actions",
                     "Type=forward,ForwardConfig={TargetGroups=[{TargetGroupArn=app},{TargetGroupArn=a}]}")

    def test_the_aws_clis_own_spelling(self):
        self.refused(1, 'no target group is named "ap", did you mean "app"?', "modify-listener",
                     "--listener-arn", "listener/net/my-lb/50dc6c495c0c9188/web",
                     "--default-actions", "Type=forward,TargetGroupArn=targetgroup/ap")
        self.refused(1, '"[::1]:x": "x" is no port', "deregister-targets",
                     "--target-group-arn", "targetgroup/app",
                     "--targets", "Id=::1,Port=x,AvailabilityZone=all")
        for attribute in "Key=stickiness.enabled,Value=maybe", "stickiness.enabled=maybe":
            self.refused(1, '"maybe" is unknown, expected "true" or "false"',
                         "modify-target-group-attributes", "--target-group", "app", "--attributes", attribute)

    def test_a_command_line_that_is_not_understood(self):
        self.refused(2, "--listener is required", "modify-listener")
        self.refused(2, "expected such as Id=192.0.2.1,Port=8080",
                     "register-targets", "--target-group", "app", "--targets", "Id=127.0.0.1,Prt=1")
        self.refused(2, "expected such as chain=web.pem,key=web.key",
                     "modify-listener", "--listener", "web", "--certificate", "web.pem")
        for action in ("redirect=app", "Type=redirect", "Type=forward", "Type=forward,TargetGroupArn=[a]",
                       "Type=forward,ForwardConfig=app", "Type=forward,ForwardConfig={TargetGroups=[]}",
                       "Type=forward,ForwardConfig={TargetGroups=[{Weight=1}]}", "[]", '["app"]', "[[]]",
                       '{"Type": "forward", "ForwardConfig": {"TargetGroups": {"a": {}}}}'):
            self.refused(2, "expected such as forward=app", "modify-listener", "--listener", "web",
                         "--default-action", action)
        for action, said in (("Type=forward,ForwardConfig={TargetGroups=[{", "expected name=value at"),
                             ("Type=forward,Type=forward", '"Type" is there twice'),
                             ("a=" + "{a=" * 5000, "nested too deeply"),
                             ("[" * 5000, "not valid JSON"),
                             ('{"Type": "forward"', "not valid JSON")):
            self.refused(2, said, "modify-listener", "--listener", "web", "--default-action", action)
        both = [{"Type": "forward", "TargetGroupArn": "app", "ForwardConfig": weights(spare=1)}]
        self.refused(2, "must be the one target group of that", "modify-listener", "--listener", "web",
                     "--default-actions", json.dumps(both))
        sticky = {"TargetGroupStickinessConfig": {"Enabled": True}, **weights(app=1)}
        self.refused(2, "where a target group has stickiness.enabled", "modify-listener", "--listener", "web",
                     "--default-actions", json.dumps([{"Type": "forward", "ForwardConfig": sticky}]))

    def test_nobody_there(self):
        for verb in "describe-listeners", "reload", "upgrade", "stop":
            done = run_program(verb, "--socket", "/nowhere/admin.sock")
            self.assertEqual(done.returncode, 1)
            self.assertTrue(done.stderr.startswith(
                f"tlsplice {verb}: no service answers on /nowhere/admin.sock"), done.stderr)

    def test_hostile_requests(self):
        for request in (b'{"command": "modify-listener", "arguments": ' + b"[" * 60000,
                        b'{"command": "modify-listener", "arguments": {"listener": {"a": 1}}}\n',
                        b'{"command": "describe-listeners", "arguments": {"listeners": "\\u001b[2J"}}\n',
                        b'{"command": "\\u001b[2J"}\n'):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(harness.PATIENCE)
                client.connect(str(self.proxy.folder / "admin.sock"))
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: client.recv(65536), b""))
                self.assertNotIn(b"\x1b", answer)
                self.assertIn(b"error", answer or b"error: shown the door")
        self.assertEqual(len(told(self.proxy, "describe-listeners")["Listeners"]), 2)


class ChangesOfRunTime(unittest.TestCase):
    def test_count_after_a_restart(self):
        target = self.enterContext(Target(serve_echo))
        config = service([tls_listener(reserve_port(), certificates().leaf(), forward="none")],
                         [group(target), group("127.0.0.1:9", name="none")])
        changes = {"listeners": {"web": {"ssl_policy": NEW, "default_action": {"forward": "app"}},
                                 "gone": {"ssl_policy": NEW}},
                   "target_groups": {"app": {"attributes": {"deregistration_delay.timeout_seconds": "5"}}}}
        with Proxy(config, changes=changes) as proxy:
            listener, = told(proxy, "describe-listeners")["Listeners"]
            with tls_client(listener["Port"], client_context()) as client:
                echoed(client)
            self.assertEqual(listener["SslPolicy"], NEW)
            self.assertEqual(listener["Changed"], ["SslPolicy", "DefaultActions"])
            rows = told(proxy, "describe-target-group-attributes", "--target-group", "app")["Attributes"]
            self.assertEqual(rows[0], {"Key": "deregistration_delay.timeout_seconds", "Value": "5",
                                       "Changed": True})
            self.assertIn("True", ask(proxy, "describe-target-group-attributes", "--target-group", "app",
                                      "--output", "table")[1])
            self.assertEqual(proxy.events("change_dropped")[0]["why"],
                             "listener gone is no longer in the file")
            self.assertNotIn("gone", (proxy.folder / "tlsplice.toml.changes.json").read_text())
            checked = run_program("check", "-c", proxy.config_file)
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertIn(f'listener web: ssl_policy is "{NEW}", not "{OLD}"', checked.stdout)

    def test_are_undone_without_a_service(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        config, changes = folder / "t.toml", folder / "t.toml.changes.json"
        config.write_text(toml(two_of_each(admin={"socket": folder / "admin.sock"})))
        for text, said in (("{", "not valid JSON"),
                           ('{"listeners": {"web": {"ssl_policy": "x"}}}', '"x" is no security policy'),
                           ("[" * 100_000, "nested too deeply"),
                           (os.urandom(1000).hex(), "not valid JSON")):
            changes.write_text(text)
            for verb in ("check", "run"):
                done = run_program(verb, "-c", config)
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"{changes}: ", done.stderr)
                self.assertIn(said, done.stderr)
                self.assertIn(f"tlsplice reset-changes -c {config}", done.stderr)
            done = run_program("reset-changes", "-c", config)
            self.assertEqual((done.returncode, json.loads(done.stdout)), (0, {"Removed": [str(changes)]}))
            self.assertEqual(run_program("check", "-c", config).returncode, 0)

    def test_of_a_certificate_that_is_gone_say_where_they_are(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        config, changes = folder / "t.toml", folder / "t.toml.changes.json"
        config.write_text(toml(two_of_each()))
        certificate = {"chain": "/no.pem", "key": "/no.key"}
        changes.write_text(json.dumps({"listeners": {"web": {"certificate": certificate}}}))
        done = run_program("check", "-c", config)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no.pem", done.stderr)
        self.assertIn(f"{changes}: changed at run time", done.stderr)


class ARunningService(unittest.TestCase):
    def setUp(self):
        self.first, self.second = (self.enterContext(Target(serve_echo)) for _ in range(2))
        self.port = reserve_port()
        config = service([tls_listener(self.port, certificates().leaf())], [group(self.first)])
        self.proxy = self.enterContext(Proxy(config))

    def version(self):
        """Of a new connection that works."""
        with tls_client(self.port, client_context()) as client:
            echoed(client)
            return client.version()

    def test_is_changed_under_a_flow_that_goes_on(self):
        with tls_client(self.port, client_context()) as old:
            echoed(old)
            changed = told(self.proxy, "modify-listener", "--listener", "web", "--ssl-policy", TLS13)
            self.assertEqual(changed["Listeners"][0]["Changed"], ["SslPolicy"])
            self.assertEqual(self.version(), "TLSv1.3")
            app = "--target-group", "app", "--targets"
            self.assertIsNone(told(self.proxy, "register-targets", *app, self.second.address))
            self.assertIsNone(told(self.proxy, "deregister-targets", *app, self.first.address))
            before = self.second.accepted
            for _ in range(5):
                self.version()
            self.assertEqual(self.second.accepted, before + 5)
            self.assertEqual(len(told(self.proxy, "reload")["Changes"]), 3)
            self.assertEqual(len(told(self.proxy, "reset-changes")["Undone"]), 3)
            self.assertEqual(self.version(), "TLSv1.2")
            self.assertFalse((self.proxy.folder / "tlsplice.toml.changes.json").exists())
            echoed(old)
        self.assertEqual([line["operation"] for line in self.proxy.wait_events("changed", 5)],
                         ["ModifyListener", "RegisterTargets", "DeregisterTargets", "Reload", "ResetChanges"])

    def test_is_left_as_it_was_by_a_certificate_that_is_not_there(self):
        status, _, complaint = ask(self.proxy, "modify-listener", "--listener", "web",
                                   "--certificate", "chain=/no.pem,key=/no.key")
        self.assertEqual(status, 1)
        for file in "/no.pem", "/no.key":
            self.assertIn(f"cannot open {file}", complaint)
        self.assertNotIn("Changed", told(self.proxy, "describe-listeners")["Listeners"][0])
        self.assertEqual(self.version(), "TLSv1.2")


class Ends(unittest.TestCase):
    def test_stop_drains_and_ends(self):
        with Proxy(two_of_each()) as proxy:
            proxy.workers()
            self.assertEqual(ask(proxy, "stop"), (0, "", ""))
            self.assertEqual(proxy.wait(), 0)
            self.assertTrue(proxy.events("draining"))


if __name__ == "__main__":
    harness.main()
