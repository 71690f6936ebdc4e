#!/usr/bin/env python3
"""Promised: the program prints the security policies as the AWS CLI does, to the byte, and its exit status
says whether the work failed (1) or the command line was not understood (2).

    describe_ssl_policies_test.py PROGRAM        or with the program's path in the environment as TLSPLICE

describe-ssl-policies.json is the service's answer; the .txt beside it is what the AWS CLI draws of its first
policy.
"""
import json
import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = json.loads((HERE / "describe-ssl-policies.json").read_text())
PROGRAM = os.environ.get("TLSPLICE", "")
FIRST = "ELBSecurityPolicy-2016-08"
LATER = "ELBSecurityPolicy-TLS13-1-2-2021-06"


def tlsplice(*arguments, stdout=subprocess.PIPE):
    return subprocess.run([PROGRAM, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=30)


class Json(unittest.TestCase):
    maxDiff = 2000

    def test_all_policies_in_the_layout_of_the_aws_cli(self):
        done = tlsplice("describe-ssl-policies")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout), GOLDEN)
        # json.dumps keeps the order of keys that it read, so this compares order and layout too.
        self.assertEqual(done.stdout, json.dumps(GOLDEN, indent=4) + "\n")
        self.assertEqual(tlsplice("describe-ssl-policies", "--output", "json").stdout, done.stdout)

    def test_names_filter_and_leave_the_order_of_the_service(self):
        done = tlsplice("describe-ssl-policies", "--names", LATER, FIRST, FIRST)
        self.assertEqual(done.returncode, 0)
        wanted = [policy for policy in GOLDEN["SslPolicies"] if policy["Name"] in (FIRST, LATER)]
        self.assertEqual(done.stdout, json.dumps({"SslPolicies": wanted}, indent=4) + "\n")
        self.assertEqual([policy["Name"] for policy in wanted], [FIRST, LATER])


class Table(unittest.TestCase):
    def test_one_policy_as_the_aws_cli_draws_it(self):
        done = tlsplice("describe-ssl-policies", "--output", "table", "--names", FIRST)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, (HERE / "describe-ssl-policies-2016-08.txt").read_text())

    def test_every_line_of_all_is_equally_wide(self):
        lines = tlsplice("describe-ssl-policies", "--output", "table").stdout.splitlines()
        self.assertEqual({len(line) for line in lines}, {len(lines[0])})
        for policy in GOLDEN["SslPolicies"]:
            self.assertEqual(sum(policy["Name"] in line.split() for line in (l.strip("|") for l in lines)), 1)


class Errors(unittest.TestCase):
    def test_an_unknown_policy_is_named_in_the_words_of_the_aws_cli(self):
        done = tlsplice("describe-ssl-policies", "--names", FIRST, "TLS-1-2-2017-01", "modern")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(
            done.stderr,
            "\nAn error occurred (SSLPolicyNotFound) when calling the DescribeSSLPolicies operation: "
            "One or more SSL policies not found\n"
            "  TLS-1-2-2017-01, did you mean ELBSecurityPolicy-TLS-1-2-2017-01?\n"
            "  modern\n",
        )

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            self.assertEqual(tlsplice("describe-ssl-policies", stdout=full).returncode, 1)


class CommandLine(unittest.TestCase):
    def assert_usage_error(self, arguments, message, verb=""):
        done = tlsplice(*arguments)
        name = f"tlsplice {verb}".strip()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, f'{name}: {message}\nTry "{name} --help".\n')

    def test_usage_errors(self):
        unexpected = "The following argument was not expected: "
        self.assert_usage_error(["chek"], unexpected + "chek")
        self.assert_usage_error(["--config", "x"], "The following arguments were not expected: x --config")
        self.assert_usage_error(["run"], "--config is required", "run")
        self.assert_usage_error(["check"], "--config is required", "check")
        self.assert_usage_error(["check", "-c", "x", "--force"], unexpected + "--force", "check")
        for output in ("xml", "0", ""):
            self.assert_usage_error(
                ["describe-ssl-policies", "--output", output],
                f"--output: {output} not in {{json,table}}",
                "describe-ssl-policies",
            )

    def test_no_verb_prints_the_help_as_an_error(self):
        done = tlsplice()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, tlsplice("--help").stdout)

    def test_help(self):
        done = tlsplice("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for verb in ("run", "check", "describe-ssl-policies"):
            self.assertIn(f"\n  {verb} ", done.stdout)
            help_of_verb = tlsplice(verb, "--help")
            self.assertEqual((help_of_verb.returncode, help_of_verb.stderr), (0, ""))
            self.assertIn(f"Usage: tlsplice {verb} ", help_of_verb.stdout)
        self.assertIn("--names", tlsplice("describe-ssl-policies", "--help").stdout)
        self.assertIn("--config FILE", tlsplice("run", "--help").stdout)

    def test_version(self):
        done = tlsplice("--version")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^tlsplice \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAM = sys.argv.pop(1)
    if not PROGRAM:
        sys.exit("usage: describe_ssl_policies_test.py PROGRAM")
    unittest.main()
