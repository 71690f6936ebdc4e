"""Promised: steering and the numbers are the same on Debian's own kernels. The room's tests and the
end-to-end tests run in guests, with fewer flows than here.

    VM_KERNELS="6.1 6.12" TLSPLICE=build/release/tlsplice steering_test.py
"""
import unittest

from guests import e2e, run_in_guests, unit, wanted

SUITES = ("20_numbers_test.py", "24_half_open_test.py", "25_killed_meanwhile_test.py", "26_cpus_test.py")
# Without the program the kernel does not matter: of that one of them is asked.
STEPS = {
    "6.1": [unit("steering"), e2e("17_steering_test.py", *SUITES)],
    "6.12": [unit("steering"),
             e2e("17_steering_test.py -k Spread -k Nothing -k OverIPv6 -k OtherRules", *SUITES)],
}
SECONDS = 1000
# The last of its series in which a connection that was moved to another listening socket wakes nobody (mended
# by "tcp: call sk_data_ready() after listener migration", CVE-2026-46015, Linux 7.1 and 6.1.175): only the
# workers' own sweep finds it there.
WAKES_NOBODY = "6.1.0-47"


class Steering(unittest.TestCase):
    def test_rooms_and_promises(self):
        for output in run_in_guests(self, wanted(STEPS), SECONDS, TLSPLICE_FLOWS="400",
                                    TLSPLICE_QUEUED="400").values():
            self.assertNotIn("cannot be loaded here", output)  # not one test was passed over

    def test_nothing_is_lost_on_a_kernel_that_wakes_nobody(self):
        steps = {WAKES_NOBODY: [e2e("17_steering_test.py -k NothingLost", "24_half_open_test.py")]}
        run_in_guests(self, steps, SECONDS, TLSPLICE_QUEUED="400")


if __name__ == "__main__":
    unittest.main(verbosity=2)
