"""Promised: the same promises hold with the record layer in the kernel. The tests of the rooms ktls and
netlink and the end-to-end tests that move bytes and end flows run in guests with Debian's own kernels, one
guest a kernel.

    VM_KERNELS="6.1 6.12 7.2" TLSPLICE=build/release/tlsplice kernel_tls_test.py
"""
import os
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TLSPLICE", ROOT / "build/release/tlsplice")).resolve()
KERNELS = os.environ.get("VM_KERNELS", "6.1 6.12 7.2").split()
SUITES = ("01_first_light_test.py", "04_no_resumption_test.py -k renegotiation", "07_ends_test.py",
          "13_kernel_tls_test.py", "15_probe_test.py", "16_interop_test.py")
ROOMS = ("ktls", "netlink")
HOSTILE = "19_hostile_records_test.py"
MODES = {"6.12": "18_relay_modes_test.py -k Bytes -k SpliceEnds"}  # the ends once, the bytes everywhere
CANNOT_BE_HAD = 77


class KernelTls(unittest.TestCase):
    def test_rooms_and_promises(self):
        units = [f"{PROGRAM.parent}/{room}_test --gtest_brief=1" for room in ROOMS]
        for kernel in KERNELS:
            with self.subTest(kernel=kernel):
                self.run_in(kernel, SUITES, units)

    def test_hostile_records_and_relay_modes(self):
        for kernel in KERNELS:
            with self.subTest(kernel=kernel):
                self.run_in(kernel, (HOSTILE, MODES.get(kernel, "18_relay_modes_test.py -k Bytes")))

    def run_in(self, kernel, suites, units=()):
        steps = [*units, *(f"{sys.executable} -B {ROOT}/tests/e2e/{suite}" for suite in suites)]
        environment = {**os.environ, "TLSPLICE": str(PROGRAM), "TLSPLICE_PATIENCE": "120"}
        command = [ROOT / "tools/vm", "--kernel", kernel, "--timeout", "600", "--", "sh", "-c",
                   " && ".join(steps)]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=900)
        if done.returncode == CANNOT_BE_HAD:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-2000:])
        # Not one of the tests that need kernel TLS may have been passed over.
        self.assertNotIn("this kernel has no TLS", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
