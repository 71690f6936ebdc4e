"""Tests in guests, one guest a kernel: the program's own tests run there as they run here, and every one of
them must have passed. One guest more at a time than there are processors, since they wait as well; each is
given long times, because a guest is some ten times slower than its host."""

import os
import pathlib
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TLSPLICE", ROOT / "build/release/tlsplice")).resolve()
CANNOT_BE_HAD = 77
PATIENCE = "120"


def kernels(default="6.1 6.12 7.2"):
    return os.environ.get("VM_KERNELS", default).split()


def wanted(steps):
    """Those of the kernels that are asked for."""
    return {kernel: what for kernel, what in steps.items() if kernel in kernels()}


def unit(room):
    return f"{PROGRAM.parent}/{room}_test --gtest_brief=1"


def e2e(*suites):
    return shlex.join([sys.executable, "-B", f"{ROOT}/tests/vm/suites.py", *suites])


def run_in_guests(test, steps, seconds, memory=2048, **environment):
    """`steps` are the commands of each kernel. Gives what they printed, by kernel; fails the test when one of
    them does, and skips the kernels that cannot be had here."""
    environment = {**os.environ, "TLSPLICE": str(PROGRAM), "TLSPLICE_PATIENCE": PATIENCE, **environment}

    def run(kernel):
        return subprocess.run([ROOT / "tools/vm", "--kernel", kernel, "--memory", str(memory), "--timeout",
                               str(seconds), "--", "sh", "-c", " && ".join(steps[kernel])],
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds + 300)

    printed = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 1) as guests:
        for kernel, done in zip(steps, guests.map(run, steps)):
            with test.subTest(kernel=kernel):
                if done.returncode == CANNOT_BE_HAD:
                    test.skipTest(done.stderr)
                test.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-2000:])
                printed[kernel] = done.stdout
    return printed
