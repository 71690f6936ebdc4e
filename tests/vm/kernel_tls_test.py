"""Promised: the same promises hold with the record layer in the kernel. The tests of the rooms ktls and
netlink and the end-to-end tests that move bytes and end flows run in guests with Debian's own kernels: the
promises on the oldest and the newest, what is hostile and the relay modes on the two newer ones.

    VM_KERNELS="6.1 6.12 7.2" TLSPLICE=build/release/tlsplice kernel_tls_test.py
"""
import unittest

from guests import e2e, run_in_guests, unit, wanted

OF_EACH_KERNEL = ("01_first_light_test.py", "07_ends_test.py", "13_kernel_tls_test.py", "15_probe_test.py",
                  "16_interop_test.py", "23_flows_test.py -k ss")
HOSTILE = "19_hostile_records_test.py"
# What does not depend on the kernel is asked of one of them.
STEPS = {
    "7.2": [unit("ktls"), unit("netlink"),
            e2e(*OF_EACH_KERNEL, HOSTILE, "18_relay_modes_test.py -k Bytes")],
    "6.1": [unit("ktls"), unit("netlink"), e2e(*OF_EACH_KERNEL)],
    "6.12": [unit("ktls"),
             e2e(HOSTILE, "18_relay_modes_test.py -k Bytes -k SpliceEnds",
                 "04_no_resumption_test.py -k renegotiation",
                 "28_proxy_protocol_test.py -k payload_is_touched -k TlsGroup",
                 "40_alpn_test.py -k order_counts -k client_speaks")],
}
SECONDS = 1500


class KernelTls(unittest.TestCase):
    def test_rooms_and_promises(self):
        for output in run_in_guests(self, wanted(STEPS), SECONDS).values():
            # Not one of the tests that need kernel TLS may have been passed over.
            self.assertNotIn("this kernel has no TLS", output)


if __name__ == "__main__":
    unittest.main(verbosity=2)
