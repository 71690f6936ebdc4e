"""Promised: every mistake of a configuration is told at once, as file:line:column: key: what, with status
1, and nothing starts; `check` says what each listener can really offer; the limits on certificates hold
until lifted; the log is logfmt or JSON and never holds a secret. Checked by running the program on files
with planted mistakes, on every example in configs/, and by searching a debug log for the keys of the
connections it speaks of."""

import json
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import tomllib
import unittest

import harness
from certificates import certificates
from harness import (REPOSITORY, Proxy, group, reserve_port, run_program, service, tcp_listener, tls_listener,
                     toml)
from peers import Target, client_context, echoed, serve_echo, tls_client
from policies import missing_suites

THREE_DES = "DES-CBC3-SHA"


class WithFiles(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def write(self, config):
        file = self.folder / "tlsplice.toml"
        file.write_text(config if isinstance(config, str) else toml(config))
        return file

    def one_listener(self, certificate=None, **keys):
        return service([tls_listener(reserve_port(), certificate or certificates().leaf(), **keys)],
                       [group("127.0.0.1:9")])

    def check(self, config):
        done = run_program("check", "-c", self.write(config))
        return done.returncode, done.stdout + done.stderr

    def refused(self, config, *said):
        """Both commands must refuse it with status 1 and say all of this."""
        for command in ("check", "run"):
            done = run_program(command, "-c", self.write(config))
            self.assertEqual(done.returncode, 1, f"{command}: {done.stdout}{done.stderr}")
            for text in said:
                self.assertIn(text, done.stderr)
        return done.stderr


class Mistakes(WithFiles):
    BAD = """workers = -1
wrkers = 2
[log]
level = "loud"
[[target_group]]
name = "app"
protocol = "UDP"
targets = ["127.0.0.1", "127.0.0.1:99999"]
connect_timeout = "soon"
[[listener]]
name = "web"
protocol = "TLS"
address = "localhost:8443"
ssl_polcy = "ELBSecurityPolicy-2016-08"
ssl_policy = "ELBSecurityPolicy-2016-80"
default_action = { forward = "ap" }
on_truncation = "ignore"
"""

    def test_all_mistakes_at_once(self):
        errors = self.refused(self.BAD)
        file = re.escape(str(self.folder / "tlsplice.toml"))
        expected = {1: "workers", 2: "wrkers", 4: "level", 7: "protocol", 8: "targets", 9: "connect_timeout",
                    13: "address", 14: "ssl_polcy", 15: "ssl_policy", 16: "forward", 17: "on_truncation"}
        for line, key in expected.items():
            self.assertRegex(errors, rf"(?m)^{file}:{line}:\d+: [^:]*{key}[^:]*: .+$")
        self.assertEqual(len(re.findall(rf"(?m)^{file}:8:", errors)), 2, "both bad targets")
        self.assertRegex(errors, r"certificate", "a TLS listener needs one")
        self.assertRegex(errors, r"wrkers: .*\bworkers\b", "a suggestion")
        self.assertRegex(errors, r"ssl_polcy: .*\bssl_policy\b", "a suggestion")
        self.assertRegex(errors, r"ELBSecurityPolicy-2016-08", "a suggestion")
        order = [int(line) for line in re.findall(rf"(?m)^{file}:(\d+):", errors)]
        self.assertEqual(order, sorted(order))

    def test_broken_toml_names_the_place(self):
        self.assertRegex(self.refused('workers = 2\nname = "unclosed\n'), r"tlsplice\.toml:2:\d+: ")

    def test_no_such_file(self):
        done = run_program("run", "-c", self.folder / "absent.toml")
        self.assertEqual(done.returncode, 1)
        self.assertIn("absent.toml", done.stderr)

    def test_wrong_usage_is_status_2(self):
        for arguments in (["run"], ["serve"], ["run", "--nonsense"], []):
            self.assertEqual(run_program(*arguments).returncode, 2, arguments)

    def test_nothing_to_do_is_a_mistake(self):
        self.refused("workers = 1\n", "listener")

    def test_an_access_log_that_cannot_be_opened(self):
        config = {**self.one_listener(), "access_log": {"file": self.folder / "none" / "access.log"},
                  "admin": {"socket": "off"}}
        done = run_program("run", "-c", self.write(config))
        self.assertEqual(done.returncode, 1)
        self.assertIn("none/access.log: No such file or directory", done.stderr)

    def test_an_address_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = "127.0.0.1:{}".format(other.getsockname()[1])
            config = service([tcp_listener(other.getsockname()[1])], [group("127.0.0.1:9")])
            done = run_program("run", "-c", self.write(config))
        self.assertEqual(done.returncode, 1)
        self.assertIn(address, done.stderr)
        self.assertIn("in use", done.stderr.lower())

    def test_two_services_on_one_address(self):
        """SO_REUSEPORT must not let a second service share the connections of the first."""
        config = service([tcp_listener(reserve_port())], [group("127.0.0.1:9")])
        with Proxy(config):
            done = run_program("run", "-c", self.write(config))
            self.assertEqual(done.returncode, 1)
            self.assertIn("in use", done.stderr.lower())


class CertificateLimits(WithFiles):
    def test_large_rsa_and_ec_keys_need_certificate_keys_any(self):
        for key in ("rsa-3072", "rsa-4096", "ec-256", "ec-384"):
            with self.subTest(key):
                leaf = certificates().leaf(key)
                self.refused(self.one_listener(leaf), "certificate_keys", '"any"')
                status, output = self.check(self.one_listener(leaf, certificate_keys="any"))
                self.assertEqual(status, 0, output)

    def test_key_and_certificate_must_match(self):
        mixed = {"chain": certificates().leaf()["chain"], "key": certificates().leaf(expired=True)["key"]}
        self.refused(self.one_listener(mixed), "certificate.key", "not the key of", str(mixed["key"]))

    def test_missing_or_broken_files(self):
        leaf, absent, junk = certificates().leaf(), self.folder / "absent.pem", self.folder / "junk.pem"
        junk.write_text("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n")
        for part in ("chain", "key"):
            for bad in (absent, junk):
                with self.subTest(f"{part}: {bad.name}"):
                    self.refused(self.one_listener({**leaf, part: bad}), str(bad))

    def test_an_expired_certificate_is_a_warning(self):
        config = self.one_listener(certificates().leaf(expired=True))
        status, output = self.check(config)
        self.assertEqual(status, 0, output)
        self.assertIn("expired", output.lower())
        with Proxy(config) as proxy:
            warnings = [line for line in proxy.lines if line["level"] == "warning"]
            self.assertTrue(any("expired" in str(line).lower() for line in warnings), warnings)


class Check(WithFiles):
    def test_it_says_what_each_listener_offers(self):
        listeners = [tls_listener(reserve_port(), certificates().leaf(), name="modern",
                                  ssl_policy="ELBSecurityPolicy-TLS13-1-2-Res-2021-06"),
                     tls_listener(reserve_port(), certificates().leaf("ec-256"), name="curved",
                                  certificate_keys="any", ssl_policy="ELBSecurityPolicy-FS-1-2-Res-2020-10")]
        status, output = self.check(service(listeners, [group("127.0.0.1:9")]))
        self.assertEqual(status, 0, output)
        middle = output.index("curved")
        modern, curved = output[output.index("modern"):middle], output[middle:]
        for text in ("TLSv1.2", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES256-GCM-SHA384"):
            self.assertIn(text, modern)
        for text in ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"):
            self.assertIn(text, curved)
        self.assertNotIn("TLSv1.3", curved)
        self.assertNotIn(THREE_DES, output)

    def test_it_warns_of_a_suite_that_openssl_lacks(self):
        config = self.one_listener(ssl_policy="ELBSecurityPolicy-TLS-1-0-2015-04")
        status, output = self.check(config)
        self.assertEqual(status, 0, output)
        self.assertIn(THREE_DES, output)
        if THREE_DES not in missing_suites():
            return
        self.assertRegex(output.lower(), "warning")
        with Proxy(config) as proxy:
            warnings = [line for line in proxy.lines if line["level"] == "warning"]
            self.assertTrue(any(THREE_DES in str(line) for line in warnings), warnings)

    def test_it_starts_nothing(self):
        port = reserve_port()
        with socket.create_server(("127.0.0.1", port)):
            status, output = self.check(service([tcp_listener(port)], [group("127.0.0.1:9")]))
        self.assertEqual(status, 0, output)

    def test_every_example_is_valid(self):
        examples = sorted((REPOSITORY / "configs").glob("*.toml"))
        self.assertGreater(len(examples), 0)
        for example in examples:
            with self.subTest(example.name), tempfile.TemporaryDirectory() as folder:
                copy = pathlib.Path(shutil.copy(example, folder))
                self.make_certificates(copy)
                done = run_program("check", "-c", copy)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def make_certificates(self, file):
        """The files that the example names."""
        for listener in tomllib.loads(file.read_text()).get("listener", []):
            for part, path in listener.get("certificate", {}).items():
                self.assertFalse(pathlib.Path(path).is_absolute(), f"{file.name}: {path}")
                (file.parent / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(certificates().leaf()[part], file.parent / path)


class Logs(WithFiles):
    def run_some_flows(self, log):
        """The text of the log of a few TLS flows, a refused one, a signal and an orderly end."""
        port = reserve_port()
        keys = self.folder / "keys"
        listener = tls_listener(port, certificates().leaf(), ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06")
        with Target(serve_echo) as target:
            config = {"log": log, **service([listener], [group(target)])}
            file = self.write(config)
            with open(self.folder / "log", "wb") as stderr:
                process = subprocess.Popen([harness.PROGRAM, "run", "-c", str(file)], stderr=stderr)
            try:
                self.make_flows(port, keys)
                process.send_signal(signal.SIGUSR1)
                time.sleep(0.2)
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(harness.PATIENCE), 0)
            finally:
                process.kill()
                process.wait()
        return (self.folder / "log").read_text(), keys.read_text()

    def make_flows(self, port, keys):
        def serving():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        harness.wait_until("the listener", serving)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(version)
            context.keylog_filename = str(keys)
            with tls_client(port, context) as client:
                self.assertTrue(echoed(client, b"the payload is secret too\n"))
                client.unwrap()

    def test_json_lines(self):
        text, _ = self.run_some_flows({"format": "json"})
        lines = [json.loads(line) for line in text.splitlines()]
        events = {line["event"] for line in lines}
        self.assertLessEqual({"serving", "listening", "worker_started", "flow", "counters"}, events)
        flow = next(line for line in lines if line["event"] == "flow" and line["end"] == "closed")
        self.assertEqual((flow["received_bytes"], flow["sent_bytes"]), (26, 26))
        self.assertTrue(all(isinstance(line["pid"], int) and line["time"].endswith("Z") for line in lines))

    def test_a_debug_log_holds_no_secret(self):
        text, keys = self.run_some_flows({"level": "debug"})
        self.assertEqual(text.count("event=flow"), 3)
        entries = [line.split() for line in keys.splitlines() if not line.startswith("#")]
        secrets = [word for entry in entries for word in entry[2:]]
        self.assertGreaterEqual(len(secrets), 5)
        private = certificates().leaf()["key"].read_text().splitlines()[1:-1]
        for secret in (*secrets, *private, "payload is secret", "CLIENT_RANDOM", "TRAFFIC_SECRET"):
            self.assertNotIn(secret.lower(), text.lower())

    def test_levels(self):
        text, _ = self.run_some_flows({"level": "error"})
        self.assertEqual(text, "")

    def test_a_client_cannot_forge_a_line(self):
        """Its bytes reach the log at most escaped."""
        port = reserve_port()
        config = service([tls_listener(port, certificates().leaf())], [group("127.0.0.1:9")])
        with Proxy(config) as proxy:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /\nlevel=info event=forged\x1b[31m HTTP/1.1\r\n\r\n")
                address = client.getsockname()
            proxy.flow_of(address)
            self.assertEqual((proxy.events("forged"), proxy.foreign), ([], []))


if __name__ == "__main__":
    harness.main()
