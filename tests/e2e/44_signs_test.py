"""Promised: connections of flows that are refused, or not answered in time, count against a target as failed
checks do, as long as none succeeds; when nobody tries any more the checks are believed again. Checked with
targets of which only the port of the checks answers."""

import harness
from harness import group, reserve_port, wait_until
from health_targets import TIMES, Health
from peers import Hanging


class Signs(Health):
    """Only the flows can know."""

    def check(self, half_dead, **keys):
        well = self.target("well")
        self.start(group(half_dead, well, **keys,
                         health_check={**TIMES, "port": well.port, "unhealthy_threshold": 2}))
        self.proxy.wait_events("target_health", target=half_dead, state="healthy")
        wait_until("unhealthy", lambda: self.shares(10) and self.proxy.events(
            "target_health", target=half_dead, state="unhealthy",
            detail="connections of flows failed, none succeeded"))
        with self.proxy.counting(TargetConnectionErrorCount=0):
            self.assertEqual(self.shares(10), {"well": 10})
        self.proxy.wait_events("target_health", 2, target=half_dead, state="healthy")

    def test_refused_connections(self):
        self.check(f"127.0.0.1:{reserve_port()}")

    def test_connections_that_time_out(self):
        self.check(Hanging(self).address, connect_timeout="100ms")


if __name__ == "__main__":
    harness.main()
