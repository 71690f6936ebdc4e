"""Promised: under steering = "cpu" a connection is served by the worker of the CPU that receives it, which
stays on that CPU; CPUs that go and come while the service runs are followed. Checked with clients on one
CPU at a time, whose packets loopback delivers there, by who holds the other end of their connections."""

import os
import pathlib
import unittest

import harness
from harness import needs_root
from steered import Steered, answered

CPUS = os.sched_getaffinity(0)  # asked while all of them are there


@needs_root
class Cpus(Steered):
    def two_cpus(self):
        cpus = sorted(CPUS)[:2]
        if len(cpus) < 2:
            self.skipTest("one CPU only")
        return cpus

    def check_cpu(self, cpu, index):
        """Connections that this CPU receives go to that worker, which stays there."""
        worker = self.proxy.workers()[index]
        self.assertEqual(os.sched_getaffinity(worker), {cpu})
        os.sched_setaffinity(0, {cpu})
        try:
            clients = self.connect(20)
        finally:
            os.sched_setaffinity(0, CPUS)
        self.assertTrue(all(answered(client) for client in clients))
        self.assertEqual({self.proxy.worker_of(client) for client in clients}, {worker})

    def test_the_cpu_that_receives_the_connection_chooses(self):
        cpus = self.two_cpus()
        self.start(steering="cpu")
        for index, cpu in enumerate(cpus):
            self.check_cpu(cpu, index)

    def test_what_the_master_may_use_is_followed(self):
        cpus = self.two_cpus()
        self.start(steering="cpu")
        os.sched_setaffinity(self.proxy.process.pid, {cpus[1]})
        self.proxy.wait_events("cpus_changed", cpus=1)
        self.check_cpu(cpus[1], 0)
        self.assertEqual(os.sched_getaffinity(self.proxy.workers()[1]), {cpus[1]})
        os.sched_setaffinity(self.proxy.process.pid, set(cpus))
        self.proxy.wait_events("cpus_changed", cpus=2)
        for index, cpu in enumerate(cpus):
            self.check_cpu(cpu, index)

    @unittest.skipUnless("VM_KERNEL" in os.environ, "takes a CPU from the whole machine: only in a guest")
    def test_cpus_go_and_come(self):
        """One goes while the service runs, and comes again; another service starts while it is gone."""
        online = pathlib.Path("/sys/devices/system/cpu/cpu1/online")
        self.addCleanup(online.write_text, "1")
        for gone_before in False, True:
            online.write_text("0" if gone_before else "1")
            self.start(steering="cpu")
            if not gone_before:
                self.check_cpu(1, 1)
                kept = self.connect(10)
                online.write_text("0")
                self.proxy.wait_events("cpus_changed", cpus=1)
                self.assertTrue(all(answered(client) for client in kept))
            self.assertEqual(os.sched_getaffinity(self.proxy.workers()[1]), {0})
            self.check_cpu(0, 0)
            online.write_text("1")
            self.proxy.wait_events("cpus_changed", cpus=2)
            for cpu in 0, 1:
                self.check_cpu(cpu, cpu)


if __name__ == "__main__":
    harness.main()
