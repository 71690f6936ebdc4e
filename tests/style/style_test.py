#!/usr/bin/env python3
"""Style is a test: the rules of the house, checked over every file of the project. A failure lists file:line:
what. The rules themselves are in text_checks.py, pattern_checks.py and rooms.py, and checks_test.py proves
that each can fail."""

import shutil
import subprocess
import unittest

import pattern_checks
import rooms
import text_checks
from source import ROOT, Finding, project_sources

SOURCES = project_sources()
CPP = [source for source in SOURCES if source.is_cpp]


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""


def command(*words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def in_chunks(things, size=20):
    return (things[start:start + size] for start in range(0, len(things), size))


class StyleTest(unittest.TestCase):
    def assert_none(self, findings):
        listed = sorted(set(findings))
        if listed:
            self.fail(f"{len(listed)} findings\n" + "\n".join(str(finding) for finding in listed))

    def assert_clean(self, check, sources):
        self.assert_none(finding for source in sources for finding in check(source))

    def test_the_project_was_found(self):
        self.assertGreater(len(CPP), 20)

    def test_lines_are_not_wide(self):
        self.assert_clean(text_checks.width, SOURCES)

    def test_files_are_not_long(self):
        self.assert_clean(text_checks.length, SOURCES)

    def test_functions_are_not_long(self):
        self.assert_clean(text_checks.function_length, CPP)

    def test_files_open_with_what_they_answer_for(self):
        self.assert_clean(text_checks.opening, SOURCES)

    def test_no_whitespace_at_the_end(self):
        self.assert_clean(text_checks.trailing_whitespace, SOURCES)

    def test_no_names_of_machines(self):
        self.assert_clean(text_checks.machine_names, SOURCES)

    def test_headers_are_guarded(self):
        self.assert_clean(text_checks.header_guard, CPP)

    def test_descriptors_have_owners(self):
        self.assert_clean(pattern_checks.named_close, CPP)

    def test_no_using_namespace(self):
        self.assert_clean(pattern_checks.using_namespace, CPP)

    def test_coroutine_lambdas_capture_nothing(self):
        self.assert_clean(pattern_checks.capturing_coroutine, CPP)

    def test_tasks_take_no_rvalue_references(self):
        self.assert_clean(pattern_checks.rvalue_task_parameter, CPP)

    def test_what_is_left_to_do_has_a_type(self):
        self.assert_clean(pattern_checks.todo_without_type, SOURCES)

    def test_code_does_not_know_that_it_is_tested(self):
        self.assert_clean(pattern_checks.test_condition, CPP)

    def test_room_table_is_what_is_built(self):
        self.assert_none(rooms.check_tables(text_of("README.md"), text_of("CMakeLists.txt")))

    def test_rooms_include_only_what_they_may_use(self):
        allowed = rooms.closure({room: uses for room, uses, _ in rooms.read_table(text_of("README.md"))})
        self.assertTrue(allowed, "README.md has no table of rooms")
        self.assert_clean(lambda source: rooms.check_includes(source, allowed), CPP)

    def test_foreign_headers_stay_in_their_room(self):
        self.assert_clean(rooms.check_foreign, CPP)

    def test_every_room_has_tests(self):
        self.assert_none(rooms.check_tests_exist([source.path for source in SOURCES]))

    def test_every_example_is_loaded_by_a_test(self):
        self.assert_none(rooms.check_configs_loaded(SOURCES))

    def test_formatted(self):
        self.assertTrue(shutil.which("clang-format-19"), "clang-format-19 is not installed: tools/setup")
        findings = set()
        for chunk in in_chunks([source.path for source in CPP]):
            run = command("clang-format-19", "--dry-run", "-Werror", *chunk)
            for line in run.stderr.splitlines():
                if ": error: " in line:
                    path, number = line.split(":")[:2]
                    findings.add(Finding(path, int(number), "not as clang-format-19 -i would have it"))
            if run.returncode and not findings:
                self.fail(run.stderr)
        self.assert_none(findings)

    def test_shell_scripts_pass_shellcheck(self):
        self.assertTrue(shutil.which("shellcheck"), "shellcheck is not installed: tools/setup")
        scripts = [source.path for source in SOURCES if source.is_shell]
        self.assertIn(".ci/run", scripts)
        run = command("shellcheck", "--format=gcc", *scripts)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    unittest.main()
