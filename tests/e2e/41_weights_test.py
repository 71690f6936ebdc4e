"""Promised: flows are shared out among several target groups by weights, which `modify-listener` changes in a
running service and keeps. With stickiness a client meets the same target again, also where several groups
have their shares."""

import collections
import json
import socket
import unittest

import harness
from harness import Proxy, group, reserve_port, run_program, scaled, service, tcp_listener
from peers import Target, echoed, serve_echo, tcp_client


def forward_config(**groups):
    return {"TargetGroups": [{"TargetGroupArn": f"targetgroup/{name}", "Weight": weight}
                             for name, weight in groups.items()]}


class Weights(unittest.TestCase):
    def setUp(self):
        self.targets = {name: self.enterContext(Target(serve_echo)) for name in ("blue", "green")}
        self.port = reserve_port()
        config = service([tcp_listener(self.port, forward="blue")],
                         [group(target, name=name) for name, target in self.targets.items()])
        self.proxy = self.enterContext(Proxy(config))

    def told(self, verb, *arguments):
        done = run_program(verb, "-c", self.proxy.config_file, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def modify(self, action):
        changed = self.told("modify-listener", "--listener", "plain", "--default-actions", action)
        return changed["Listeners"][0]

    def shares(self, count):
        before = {name: target.accepted for name, target in self.targets.items()}
        for _ in range(count):
            with tcp_client(self.port) as client:
                self.assertTrue(echoed(client))
        return {name: target.accepted - before[name] for name, target in self.targets.items()}

    def test_share_out_the_flows_and_are_kept(self):
        shorthand = ("Type=forward,ForwardConfig={TargetGroups=[{TargetGroupArn=targetgroup/blue,Weight=1}, "
                     "{TargetGroupArn='green',Weight=3}]}")
        listener = self.modify(shorthand)
        self.assertEqual(listener["DefaultActions"],
                         [{"Type": "forward", "ForwardConfig": forward_config(blue=1, green=3)}])
        self.assertEqual(listener["Changed"], ["DefaultActions"])
        count = scaled(300, 100)
        deviation = (count * 0.25 * 0.75) ** 0.5
        self.assertAlmostEqual(self.shares(count)["blue"], count / 4, delta=5 * deviation)
        checked = run_program("check", "-c", self.proxy.config_file)
        self.assertIn("forwards to 1 of 4 to blue (TCP, 1 target), 3 of 4 to green (TCP, 1 target)",
                      checked.stdout)
        self.assertIn('default_action.forward is "blue (1), green (3)", not "blue"', checked.stdout)
        kept = json.loads((self.proxy.folder / "tlsplice.toml.changes.json").read_text())
        self.assertEqual(kept["listeners"]["plain"]["default_action"]["forward"],
                         [{"target_group": "blue", "weight": 1}, {"target_group": "green", "weight": 3}])
        # As describe-listeners prints it, it is taken.
        self.assertEqual(self.modify(json.dumps(listener["DefaultActions"])), listener)
        self.assertEqual(len(self.told("reload")["Changes"]), 1)
        self.told("reset-changes")
        self.assertEqual(self.shares(10), {"blue": 10, "green": 0})

    def test_one_group_in_every_spelling(self):
        both = [{"Type": "forward", "TargetGroupArn": "targetgroup/green", "Order": 1, "ForwardConfig": {
            **forward_config(green=1), "TargetGroupStickinessConfig": {"Enabled": False}}}]
        for action in ("forward=green", "Type=forward,TargetGroupArn=green", json.dumps(both),
                       "Type=forward,ForwardConfig={TargetGroups=[{TargetGroupArn=green}]}"):
            listener = self.modify(action)
            self.assertEqual(listener["DefaultActions"][0]["TargetGroupArn"], "targetgroup/green")
            self.assertEqual(self.shares(5), {"blue": 0, "green": 5})
            self.told("reset-changes")


class Stickiness(unittest.TestCase):
    def met(self, groups, forward):
        """The targets of each client, over three connections each."""
        port, clients = reserve_port(), scaled(40, 16)
        with Proxy(service([tcp_listener(port, forward=forward)], groups)) as proxy:
            for _ in range(3):
                for number in range(clients):
                    source = (f"127.0.0.{number + 2}", 0)
                    with socket.create_connection(("127.0.0.1", port), harness.PATIENCE, source) as client:
                        echoed(client)
            chosen = collections.defaultdict(set)
            for line in proxy.wait_events("flow", 3 * clients):
                chosen[line["client"].rpartition(":")[0]].add(line["target"])
        return chosen

    def test_a_client_meets_the_same_target_again(self):
        targets = [self.enterContext(Target(serve_echo)) for _ in range(4)]
        chosen = self.met([group(*targets, stickiness={"enabled": True})], "app")
        self.assertEqual({len(targets) for targets in chosen.values()}, {1})
        self.assertGreater(len(set.union(*chosen.values())), 1, "not all clients meet one target")

    def test_a_client_meets_the_same_target_of_the_same_group_again(self):
        """And the groups have their shares of the clients, also one that is not sticky itself."""
        sticky, other = ([self.enterContext(Target(serve_echo)) for _ in range(2)] for _ in range(2))
        groups = [group(*sticky, name="sticky", stickiness={"enabled": True}), group(*other, name="other")]
        chosen = self.met(groups, [{"target_group": name, "weight": 5} for name in ("sticky", "other")])
        of_sticky = {target.address for target in sticky}
        homes = [targets for targets in chosen.values() if targets & of_sticky]
        self.assertEqual({len(targets) for targets in homes}, {1}, "each at one target")
        self.assertEqual(set.union(*homes), of_sticky)
        self.assertLess(len(homes), len(chosen), "some clients are of the other group")


if __name__ == "__main__":
    harness.main()
