"""Promised: what the soak promises (tests/e2e/14_soak_test.py) holds with the record layer in the kernel:
every byte right, every flow counted as it ended, nothing left. SOAK_FLOWS=10000 is the full soak; the default
is one that fits between other tests.

    SOAK_FLOWS=10000 VM_KERNELS="6.12" TLSPLICE=build/release/tlsplice soak_test.py
"""
import os
import sys
import unittest

from guests import e2e, kernels, run_in_guests

FLOWS = int(os.environ.get("SOAK_FLOWS", 240))
SECONDS = 300 + FLOWS


class Soak(unittest.TestCase):
    def test_nothing_of_the_flows_stays(self):
        steps = dict.fromkeys(kernels("6.12"), [e2e("14_soak_test.py")])
        for output in run_in_guests(self, steps, SECONDS, memory=3072, SOAK_FLOWS=str(FLOWS)).values():
            print(output[-2000:], file=sys.stderr)  # flows, bytes, seconds, memory
            self.assertNotIn("skipped", output)


if __name__ == "__main__":
    unittest.main(verbosity=2)
