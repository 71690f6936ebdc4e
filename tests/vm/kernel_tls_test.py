"""Promised: the same promises hold with the record layer in the kernel. The tests of the rooms ktls and
netlink and the end-to-end tests that move bytes and end flows run in guests with Debian's own kernels: the
promises on the oldest and the newest, what is hostile and the relay modes on the two newer ones.

    VM_KERNELS="6.1 6.12 7.2" TLSPLICE=build/release/tlsplice kernel_tls_test.py
"""
import unittest

from guests import e2e, kernels, run_in_guests, unit

SUITES = ("01_first_light_test.py", "04_no_resumption_test.py -k renegotiation", "07_ends_test.py",
          "13_kernel_tls_test.py", "15_probe_test.py", "16_interop_test.py", "23_flows_test.py -k ss",
          "28_proxy_protocol_test.py -k payload_is_touched -k TlsGroup",
          "40_alpn_test.py -k order_counts -k client_speaks")
ROOMS = ("ktls", "netlink")
HOSTILE = "19_hostile_records_test.py"
MODES = {"6.12": "18_relay_modes_test.py -k Bytes -k SpliceEnds"}  # the ends once, the bytes everywhere
SECONDS = 900


class KernelTls(unittest.TestCase):
    def run_all(self, default, suites_of, rooms=ROOMS):
        steps = {kernel: [*map(unit, rooms), *map(e2e, suites_of(kernel))] for kernel in kernels(default)}
        for output in run_in_guests(self, steps, SECONDS).values():
            # Not one of the tests that need kernel TLS may have been passed over.
            self.assertNotIn("this kernel has no TLS", output)

    def test_rooms_and_promises(self):
        self.run_all("6.1 7.2", lambda _: SUITES)

    def test_hostile_records_and_relay_modes(self):
        modes = "18_relay_modes_test.py -k Bytes"
        self.run_all("6.12 7.2", lambda kernel: (HOSTILE, MODES.get(kernel, modes)), rooms=("ktls",))


if __name__ == "__main__":
    unittest.main(verbosity=2)
