#!/usr/bin/env python3
"""tools/vm keeps its word, on each kernel of VM_KERNELS (default "6.1 6.12"): exit status, output and files
come back, and the guest is fit for the kernel-TLS tests (inside.py). A kernel that cannot be had here is
skipped. TLSPLICE names the program that is started in there. One guest at a time; two minutes on a busy
machine."""

import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
KERNELS = os.environ.get("VM_KERNELS", "6.1 6.12").split()
TLSPLICE = os.environ.get("TLSPLICE") or str(REPOSITORY / "build/release/tlsplice")
QEMU = "qemu-system-x86_64"
DEADLINE_SECONDS = 900  # the first use of a kernel downloads it
UNAVAILABLE, TIMED_OUT, BROKEN = 77, 124, 125


def vm(*arguments, environment=None, **options):
    return subprocess.run([REPOSITORY / "tools/vm", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=DEADLINE_SECONDS, check=False,
                          env={**os.environ, "TLSPLICE": TLSPLICE, **(environment or {})}, **options)


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="guest-test-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def expect(self, done, status, output=None):
        if done.returncode == UNAVAILABLE != status:
            self.skipTest(done.stderr.decode(errors="replace").strip())
        said = "\n".join(["stdout:", done.stdout[-8000:].decode(errors="replace"),
                          "stderr:", done.stderr.decode(errors="replace")])
        self.assertEqual(done.returncode, status, said)
        if output is not None:
            self.assertEqual(done.stdout, output, said)


class OnEachKernel:
    """Its subclasses, one for each kernel, set `kernel`."""

    kernel = None

    def test_the_guest_is_fit_for_the_tests(self):
        done = vm("--kernel", self.kernel, "--", sys.executable, REPOSITORY / "tests/vm/inside.py",
                  environment={"GUEST_TEST_NOW": str(time.time())})
        self.expect(done, 0)
        self.assertIn(b"\nOK\n", done.stdout)

    def test_status_output_and_files_come_back(self):
        size = 5_000_000
        script = (f'head -c {size} /dev/zero | tr "\\0" x >"$VM_OUT/large"'
                  '; mkdir "$VM_OUT/sub"; echo hi >"$VM_OUT/sub/it"'
                  '; echo first; echo second >&2; echo "$0 $PWD"; exit 93')
        out = self.folder / "new" / "out, with a comma"
        done = vm("--kernel", self.kernel, "--out", out, "--", "sh", "-c", script, "it's $HOME",
                  cwd=self.folder)
        self.expect(done, 93, f"first\nsecond\nit's $HOME {self.folder}\n".encode())
        self.assertEqual((out / "large").read_bytes(), b"x" * size)
        self.assertEqual((out / "sub/it").read_text(encoding="utf-8"), "hi\n")


for _kernel in KERNELS:
    _name = f"Kernel_{_kernel.replace('.', '_')}"
    globals()[_name] = type(_name, (OnEachKernel, Base), {"kernel": _kernel})


class OnOneKernel(Base):
    """What does not depend on the kernel, with the first of them."""

    kernel = ("--kernel", KERNELS[0])

    def test_what_the_guest_writes_elsewhere_is_gone(self):
        mine = self.folder / "mine"
        mine.write_text("old", encoding="utf-8")
        self.expect(vm(*self.kernel, "--", "sh", "-c", f"echo new >{mine}; cat {mine}"), 0, b"new\n")
        self.assertEqual(mine.read_text(encoding="utf-8"), "old")

    def test_a_lot_of_output_is_complete_and_processes_left_behind_do_not_matter(self):
        size = 30_000_000
        done = vm(*self.kernel, "--", "sh", "-c", f'sleep 500 & head -c {size} /dev/zero | tr "\\0" x')
        self.expect(done, 0)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(b"x" * size).digest())

    def test_a_signal_gives_the_status_that_a_shell_gives(self):
        self.expect(vm(*self.kernel, "--", "sh", "-c", "kill -SEGV $$"), 128 + signal.SIGSEGV)

    def test_a_kernel_of_no_known_series_is_refused(self):
        for name in "5.10", "6.10", "6.1/x":
            done = vm("--kernel", name, "--", "true")
            self.expect(done, 2)
            self.assertIn(b"none of the series", done.stderr)

    def test_a_command_that_is_missing(self):
        self.expect(vm(*self.kernel, "--", "no-such-command"), 127)

    def test_the_timeout_ends_the_guest_and_keeps_what_came_before(self):
        self.expect(vm(*self.kernel, "--", "true"), 0)  # downloads are done: they do not count
        started = time.monotonic()
        done = vm(*self.kernel, "--timeout", "20", "--out", self.folder, "--", "sh", "-c",
                  'echo before; echo file >"$VM_OUT/file"; sleep 600')
        self.expect(done, TIMED_OUT, b"before\n")
        self.assertLess(time.monotonic() - started, 40)
        self.assertEqual((self.folder / "file").read_text(encoding="utf-8"), "file\n")

    def test_a_kernel_that_dies_is_reported_with_its_last_words(self):
        done = vm(*self.kernel, "--", "sh", "-c",
                  "echo before; sleep 0.5; echo c >/proc/sysrq-trigger; sleep 60")
        self.expect(done, BROKEN, b"before\n")
        self.assertIn(b"sysrq triggered crash", done.stderr.lower())
        self.assertIn(b"died", done.stderr)

    def test_a_guest_that_did_not_boot_is_started_once_more(self):
        qemu = shutil.which(QEMU)
        if not qemu:
            self.skipTest(f"{QEMU} is not installed")
        stand_in = self.folder / QEMU
        for failures, status in (1, 0), (2, BROKEN):
            marks = self.folder / f"starts-{failures}"
            stand_in.write_text(f'#!/bin/sh\necho x >>"{marks}"\n'
                                f'[ "$(wc -l <"{marks}")" -gt {failures} ] || exit 1\n'
                                f'exec "{qemu}" "$@"\n', encoding="utf-8")
            stand_in.chmod(0o755)
            with self.subTest(failures=failures):
                path = f"{self.folder}:{os.environ['PATH']}"
                done = vm(*self.kernel, "--", "true", environment={"PATH": path})
                self.expect(done, status)
                self.assertEqual(marks.read_text(encoding="utf-8").count("x"), 2)
                self.assertEqual(done.stderr.count(b"did not boot"), failures)

    def test_without_qemu_the_status_tells_tests_to_skip(self):
        for program in "python3", "env":
            (self.folder / program).symlink_to(shutil.which(program) if program == "env" else sys.executable)
        done = vm(*self.kernel, "--", "true", environment={"PATH": str(self.folder)})
        self.expect(done, UNAVAILABLE, b"")
        self.assertIn(b"tools/setup", done.stderr)

    def test_no_guest_outlives_the_tool(self):
        marker = self.folder / "marker"
        for number in signal.SIGTERM, signal.SIGKILL:
            with self.subTest(signal=number):
                command = [REPOSITORY / "tools/vm", *self.kernel, "--out", marker, "--", "sleep", "500"]
                with subprocess.Popen(command, stderr=subprocess.DEVNULL,
                                      env={**os.environ, "TMPDIR": str(self.folder)}) as tool:
                    guests = self.wait_for_guests(marker, lambda found: found)
                    tool.send_signal(number)
                self.assertTrue(guests)
                self.assertEqual(self.wait_for_guests(marker, lambda found: not found), [])

    @staticmethod
    def wait_for_guests(marker, enough):
        """Process ids of QEMU with that folder, as soon as there are enough of them or a minute is over."""
        deadline = time.monotonic() + 60
        while True:
            found = []
            for entry in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if words[0] == QEMU.encode() and any(str(marker).encode() in word for word in words):
                    found.append(int(entry.name))
            if enough(found) or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main(verbosity=2)
