"""Promised: steering and the numbers are the same on Debian's own kernels. The room's tests and the
end-to-end tests run in guests, with fewer flows than here.

    VM_KERNELS="6.1 6.12" TLSPLICE=build/release/tlsplice steering_test.py
"""
import unittest

from guests import e2e, kernels, run_in_guests, unit

STEPS = [unit("steering"), e2e("17_steering_test.py"), e2e("20_numbers_test.py")]
SECONDS = 1000


class Steering(unittest.TestCase):
    def test_rooms_and_promises(self):
        steps = dict.fromkeys(kernels("6.1 6.12"), STEPS)
        for output in run_in_guests(self, steps, SECONDS, TLSPLICE_FLOWS="400",
                                    TLSPLICE_QUEUED="400").values():
            self.assertNotIn("cannot be loaded here", output)  # not one test was passed over


if __name__ == "__main__":
    unittest.main(verbosity=2)
