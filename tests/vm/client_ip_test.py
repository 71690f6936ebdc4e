"""Promised: client IP preservation is the same on Debian's own kernels. The tests of its room and the
end-to-end test run in guests, with fewer flows than here. No test of ctest: to be run by hand after changes
to either, some minutes a kernel.

    VM_KERNELS="6.1 6.12" TLSPLICE=build/release/tlsplice python3 -B tests/vm/client_ip_test.py
"""
import unittest

from guests import e2e, kernels, run_in_guests, unit

STEPS = [unit("netlink"), e2e("31_client_ip_test.py")]
SECONDS = 1000


class ClientIp(unittest.TestCase):
    def test_room_and_promises(self):
        for output in run_in_guests(self, dict.fromkeys(kernels("6.1 6.12"), STEPS), SECONDS,
                                    TLSPLICE_FLOWS="300").values():
            self.assertNotIn("no network namespace", output)  # not one test was passed over


if __name__ == "__main__":
    unittest.main(verbosity=2)
