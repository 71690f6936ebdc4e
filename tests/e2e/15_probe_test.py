"""Promised: `tlsplice probe` says what this kernel does, in lines for people and as typed JSON under the
same names; each "no" says what follows; where io_uring is refused, probe and run name who refuses it and what
would allow it, and end with status 1. Refusals are made with a seccomp filter around the program; settings of
the kernel are changed only in a guest of tests/vm."""

import ctypes
import json
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

import harness
from certificates import certificates
from harness import KERNEL_TLS, PROGRAM, PATIENCE, group, reserve_port, run_program, service, tls_listener

KERNEL = os.environ.get("VM_KERNEL")
only_in_a_guest = unittest.skipUnless(KERNEL, "changes settings of the kernel: in guests only")
# What is known of Debian's kernels: (re-keys, polls only whole records, knows io_uring_disabled)
KNOWN = {"6.1": (False, False, False), "6.12": (False, True, True), "7.2": (True, True, True)}
NUMBERS = {"io_uring.disabled_setting", "bpf.tcp_migrate_req", "pipes.granted_bytes", "pipes.max_bytes",
           "pipes.user_pages_soft"}
WORDS = {"kernel", "openssl"}
CIPHERS = ("aes_128_gcm", "aes_256_gcm", "chacha20_poly1305")

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_IO_URING_SETUP = 425
_SECCOMP_RET_ERRNO, _SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
EPERM, ENOSYS = 1, 38


def refusing_io_uring(errnum):
    """For subprocess's preexec_fn: from here on io_uring_setup fails with errnum."""
    def instruction(code, jump_true, jump_false, value):
        return struct.pack("HBBI", code, jump_true, jump_false, value)
    program = b"".join((instruction(0x20, 0, 0, 0),  # load the number of the call
                        instruction(0x15, 0, 1, _IO_URING_SETUP),
                        instruction(0x06, 0, 0, _SECCOMP_RET_ERRNO | errnum),
                        instruction(0x06, 0, 0, _SECCOMP_RET_ALLOW)))
    libc = ctypes.CDLL(None, use_errno=True)

    def refuse():
        instructions = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
        for step in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                     (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)):
            if libc.prctl(*step) != 0:
                raise OSError(ctypes.get_errno(), "prctl")
    return refuse


def flat(facts, above=""):
    """{"io_uring.permitted": True, ...}"""
    names = {}
    for key, value in facts.items():
        names.update(flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value})
    return names


def probed(status=0, **options):
    """The facts by name, of a probe that ends with this status."""
    done = run_program("probe", "--json", **options)
    assert (done.returncode, done.stderr) == (status, ""), done
    return flat(json.loads(done.stdout))


def lines(status=0, **options):
    """{name: the rest of its line}"""
    done = run_program("probe", **options)
    assert (done.returncode, done.stderr) == (status, ""), done
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def run_service(**options):
    """What `tlsplice run` leaves when it cannot start."""
    config = service([tls_listener(reserve_port(), certificates().leaf())], [group("127.0.0.1:9")])
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(harness.toml(config))
        file.flush()
        return run_program("run", "-c", file.name, **options)


class setting:
    """`with setting("kernel.io_uring_disabled", 2):`, in a guest."""

    def __init__(self, name, value):
        self.file, self.value = pathlib.Path("/proc/sys", name.replace(".", "/")), value

    def __enter__(self):
        self.before = self.file.read_text()
        self.file.write_text(str(self.value))

    def __exit__(self, *_):
        self.file.write_text(self.before)


class Facts(unittest.TestCase):
    def test_every_fact_has_its_type(self):
        facts = probed()
        for name in ("io_uring.permitted", "bpf.sk_reuseport_migrate", "bpf.bpffs", "bpf.map_iterators",
                     "pipes.granted_bytes", "network_devices.told", "kernel_tls.splice.data"):
            self.assertIn(name, facts)
        for name, value in facts.items():
            wanted = (int if name in NUMBERS else str if name in WORDS or ".tls-hw-" in name else bool)
            self.assertIs(type(value), wanted, name)

    def test_they_are_those_of_this_kernel(self):
        facts = probed()
        self.assertEqual(facts["kernel"], os.uname().release)
        self.assertIs(facts["kernel_tls.ulp"], KERNEL_TLS)
        for version in ("tls1_2", "tls1_3"):
            for cipher in CIPHERS:
                for way in ("send", "receive"):
                    self.assertIs(facts[f"kernel_tls.{version}.{cipher}.{way}"], KERNEL_TLS)
        for name in ("splice.data", "splice.keeps_other_records", "takes_no_padding"):
            self.assertIs(facts[f"kernel_tls.{name}"], KERNEL_TLS, name)
        for name in ("poll_add", "connect", "async_cancel", "splice", "timeout", "defer_taskrun"):
            self.assertIs(facts[f"io_uring.{name}"], True, name)
        self.assertIs(facts["bpf.bpffs"], " /sys/fs/bpf bpf " in pathlib.Path("/proc/mounts").read_text())
        limit = pathlib.Path("/proc/sys/fs/pipe-max-size").read_text()
        self.assertEqual(facts["pipes.max_bytes"], int(limit))

    @unittest.skipUnless(KERNEL in KNOWN, "of this kernel nothing is known beforehand")
    def test_debians_kernels_are_as_known(self):
        facts = probed()
        rekeys, whole_records, has_setting = KNOWN[KERNEL]
        self.assertIs(facts["kernel_tls.rekey.send"], rekeys)
        self.assertIs(facts["kernel_tls.rekey.receive"], rekeys)
        self.assertIs(facts["kernel_tls.poll_waits_for_whole_records"], whole_records)
        self.assertIs("io_uring.disabled_setting" in facts, has_setting)
        for name in ("maps", "map_iterators", "sk_reuseport_migrate"):
            self.assertIs(facts[f"bpf.{name}"], True, name)
        self.assertEqual(facts["network_devices.up.lo.tls-hw-tx-offload"], "off [fixed]")

    def test_devices_are_as_ethtool_has_them(self):
        facts = probed()
        self.assertIs(facts["network_devices.told"], True)
        up = [device for device in os.listdir("/sys/class/net")
              if int(pathlib.Path("/sys/class/net", device, "flags").read_text(), 16) & 1]
        for device in up:
            self.assertRegex(facts[f"network_devices.up.{device}.tls-hw-rx-offload"],
                             r"^(on|off)( \[fixed\])?$")

    def test_lines_are_the_same_facts(self):
        facts, printed = probed(), lines()
        self.assertLessEqual(printed.keys(), facts.keys())
        for name, rest in printed.items():
            value = str(facts[name])
            value = {"True": "yes", "False": "no"}.get(value, value)
            self.assertTrue(rest == value or rest.startswith(value + " "), (name, rest))
            if facts[name] is False:
                self.assertRegex(rest, r"^no +[A-Z].*\.$", name)
        missing = [name for name in facts.keys() - printed.keys() if not name.startswith("kernel_tls.")]
        self.assertEqual(missing, [])
        # What a missing ULP implies is not repeated.
        self.assertIs(facts.keys() == printed.keys(), KERNEL_TLS)

    @unittest.skipIf(KERNEL_TLS, "this kernel has TLS")
    def test_without_kernel_tls_the_command_is_named(self):
        line = lines()["kernel_tls.ulp"]
        self.assertIn("modprobe tls", line)
        self.assertIn("/etc/modules-load.d", line)

    @harness.needs_root
    def test_who_may_not_load_programs_is_told(self):
        """As nobody: BPF is refused, io_uring and pipes are as before."""
        done = subprocess.run([PROGRAM, "probe"], user=65534, group=65534, extra_groups=[], cwd="/",
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"bpf\.maps +no +Numbers .*start as root, or grant CAP_BPF")

    @only_in_a_guest
    def test_a_pipe_is_what_a_worker_would_get(self):
        with setting("fs.pipe-user-pages-soft", 20):
            self.assertLess(probed()["pipes.granted_bytes"], 256 * 1024)
            self.assertRegex(lines()["pipes.granted_bytes"], r"^\d+ +A worker's pipe .*pipe-user-pages-soft")
        self.assertEqual(probed()["pipes.granted_bytes"], 256 * 1024)


class Refused(unittest.TestCase):
    def refused(self, words, **options):
        facts, line = probed(1, **options), lines(1, **options)["io_uring.permitted"]
        self.assertIs(facts["io_uring.permitted"], False)
        self.assertIs(facts["io_uring.poll_add"], False)
        self.assertRegex(line, r"^no +Nothing can be served: io_uring_setup")
        self.assertIn(words, line)
        done = run_service(**options)
        self.assertEqual(done.returncode, 1, done.stderr)
        failed = [harness.parse_logfmt(text) for text in done.stderr.splitlines()
                  if "worker_failed" in text]
        self.assertTrue(failed, done.stderr)
        for event in failed:
            self.assertIn(words, event["error"])
        self.assertNotIn("event=serving", done.stderr)

    def test_by_a_seccomp_filter(self):
        self.refused("a seccomp filter forbids it", preexec_fn=refusing_io_uring(EPERM))

    def test_by_a_filter_that_hides_it(self):
        self.refused("CONFIG_IO_URING", preexec_fn=refusing_io_uring(ENOSYS))

    @only_in_a_guest
    def test_by_the_setting(self):
        if not KNOWN[KERNEL][2]:
            self.skipTest("this kernel has no such setting")
        for value, whom in ((1, "kernel.io_uring_disabled is 1, which forbids it to users outside"),
                            (2, "kernel.io_uring_disabled is 2, which forbids it to everyone")):
            with setting("kernel.io_uring_disabled", value):
                self.assertEqual(probed(1)["io_uring.disabled_setting"], value)
                self.refused(whom)
        self.assertEqual(probed()["io_uring.disabled_setting"], 0)


if __name__ == "__main__":
    harness.main()
