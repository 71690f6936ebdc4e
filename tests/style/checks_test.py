#!/usr/bin/env python3
"""A check that cannot fail is none: each one here is fed what it must find, and what it must leave alone."""

import unittest

import pattern_checks as patterns
import rooms
import text_checks as texts
from source import Source, blank

WIRE = "include/tlsplice/wire/x.h"
HEADER = "// What it is.\n// Who owns what.\n#pragma once\n"


def found(check, text, path="src/net/x.cpp"):
    """The lines in which a check finds something."""
    return [finding.line for finding in check(Source(path, text))]


class TextChecks(unittest.TestCase):
    def test_a_message_says_where_and_what(self):
        (finding,) = texts.width(Source("src/net/x.cpp", "//\n" + "x" * 111 + "\n"))
        self.assertEqual(str(finding), "src/net/x.cpp:2: 111 columns, at most 110")

    def test_width(self):
        self.assertEqual(found(texts.width, "ok\n" + "x" * 110 + "\n" + "é" * 110 + "\n"), [])
        self.assertEqual(found(texts.width, "#" * 111 + "\n", "tests/e2e/x.py"), [1])
        self.assertEqual(found(texts.width, "x" * 200 + "\n", "README.md"), [])

    def test_length(self):
        self.assertEqual(found(texts.length, "x\n" * 400), [])
        self.assertEqual(found(texts.length, "x\n" * 401), [401])

    def test_trailing_whitespace(self):
        self.assertEqual(found(texts.trailing_whitespace, "a\nb \n\t\nc\n", "README.md"), [2, 3])
        self.assertEqual(found(texts.trailing_whitespace, "a\nb", "README.md"), [2])

    def test_machine_names(self):
        for bad in ("/wo" + "rk/main/x", "see /ro" + "ot", '"/ho' + 'me/ann/x"', "deb.deb" + "ian.org",
                    "py" + "pi.org",
                    "https://mir" + "ror.example.com/debian"):
            self.assertEqual(found(texts.machine_names, f"a\n{bad}\n", "README.md"), [2], bad)
        for good in ("src/worker/x", "$root/src", "/worker", "a chroot", "the framework/root",
                     "https://github.com/x",
                     "/proc/net/tcp", "https://www.deb" + "ian.org/"):
            self.assertEqual(found(texts.machine_names, good + "\n", "README.md"), [], good)

    def test_opening_of_headers(self):
        path = "include/tlsplice/net/x.hpp"
        self.assertEqual(found(texts.opening, HEADER, path), [])
        self.assertEqual(found(texts.opening, "#pragma once\n", path), [1])
        self.assertEqual(found(texts.opening, "// one\n#pragma once\n", path), [1])
        self.assertEqual(found(texts.opening, "// x\n" * 9 + "#pragma once\n", path), [1])
        self.assertEqual(found(texts.opening, "/* In C\n * words.\n */\n#ifndef A\n", WIRE), [])

    def test_opening_of_sources_and_scripts(self):
        self.assertEqual(found(texts.opening, '#include "tlsplice/net/x.hpp"\n'), [])
        self.assertEqual(found(texts.opening, '#include "x.hpp"\n'), [])
        self.assertEqual(found(texts.opening, '#include "y.hpp"\n'), [1])
        self.assertEqual(found(texts.opening, "// Prose.\n#include <x>\n"), [])
        self.assertEqual(found(texts.opening, "#!/usr/bin/env bash\nset -e\n", "tools/x"), [2])
        self.assertEqual(found(texts.opening, "#!/usr/bin/env bash\n# Prose.\nset -e\n", "tools/x"), [])
        self.assertEqual(found(texts.opening, '"""Prose."""\nimport x\n', "tests/x.py"), [])
        self.assertEqual(found(texts.opening, "import x\n", "tests/x.py"), [1])

    def test_header_guard(self):
        self.assertEqual(found(texts.header_guard, HEADER, "src/net/x.hpp"), [])
        self.assertEqual(found(texts.header_guard, "// #pragma once\n", "src/net/x.hpp"), [1])
        self.assertEqual(found(texts.header_guard, "#ifndef A_H\n#define A_H\n", WIRE), [])
        self.assertEqual(found(texts.header_guard, "#ifndef A_H\n#define B_H\n", WIRE), [1])
        self.assertEqual(found(texts.header_guard, "#pragma once\n", WIRE), [1])


class FunctionLength(unittest.TestCase):
    def lengths(self, text):
        source = Source("src/net/x.cpp", text)
        return {name: source.line_at(end) - source.line_at(begin) + 1
                for name, begin, end in texts.functions(source)}

    def test_limit(self):
        def function(lines):
            return "namespace a {\nint f() {\n" + "  g();\n" * (lines - 2) + "}\n}\n"

        self.assertEqual(found(texts.function_length, function(70)), [])
        self.assertEqual(found(texts.function_length, function(71)), [2])

    def test_every_kind_of_function_is_seen(self):
        for head in ("int f() {", "auto f(int a) const -> std::vector<int> {",
                     "C::f(int a)\n : a_(a), b_{2} {",
                     "template <class T, class U>\nvoid f(T t, U u) noexcept {",
                     "struct sockaddr f(struct x* y) {",
                     "Task<std::expected<A, B>> C::f(A& a) {", "TEST(A, f) {", 'extern "C" {\nint f() {',
                     "class C final : public D {\n public:\n  void f() override {"):
            with self.subTest(head):
                lengths = self.lengths(head + "\n  if (a) {\n    b();\n  }\n  auto l = [&] {\n  };\n}\n")
                self.assertEqual(len(lengths), 1, lengths)
                self.assertGreaterEqual(max(lengths.values()), 7)

    def test_what_is_no_function(self):
        for text in ("enum class A : int {\n  kB,\n};\n", "constexpr int kTable[] = {\n  f(1),\n};\n",
                     "const std::map<int, int> kTable{\n  {1, 2},\n};\n", "struct A {\n  int b{f(2)};\n};\n",
                     "// int f() {\n", 'const char* a = R"(int f() {\n})";\n',
                     "#define F() int f() { \\\n }\n"):
            self.assertEqual(self.lengths(text), {}, text)


class PatternChecks(unittest.TestCase):
    def test_named_close(self):
        for bad in ("  ::close(fd);", "  close(fd);", "  if (a) close(fd);", "  return ::close(fd);",
                    "  (void)close(fd);"):
            self.assertEqual(found(patterns.named_close, bad), [1], bad)
        for good in ("  stream.close(1);", "  s->close(fd);", "  Fd::close(fd);", "  void close(int how);",
                     "  // ::close(fd)", '  log("::close(fd)");', "  close();"):
            self.assertEqual(found(patterns.named_close, good), [], good)
        self.assertEqual(found(patterns.named_close, "::close(fd);", "src/base/fd.cpp"), [])

    def test_using_namespace(self):
        self.assertEqual(found(patterns.using_namespace, "\nusing namespace std;\n"), [2])
        self.assertEqual(found(patterns.using_namespace, "using namespace std::chrono_literals;\n"), [])
        self.assertEqual(found(patterns.using_namespace, "namespace a = b;  // using namespace std\n"), [])

    def test_todo(self):
        todo = "TO" + "DO"
        self.assertEqual(found(patterns.todo_without_type, f"// {todo}: x\n// {todo}(x)\n// FIX" + "ME x\n"),
                         [1, 2, 3])
        self.assertEqual(found(patterns.todo_without_type, f"// {todo}(kernel): needs 6.14\n"), [])

    def test_test_condition(self):
        for bad in ("#ifdef TEST", "#if defined(UNIT_TEST)", "# ifndef TLSPLICE_TESTING"):
            self.assertEqual(found(patterns.test_condition, f"a\n{bad}\n"), [2], bad)
        self.assertEqual(found(patterns.test_condition, "#ifdef __linux__\n// #ifdef TEST\n#define TEST\n"),
                         [])

    def test_capturing_coroutine(self):
        for bad in ("auto f = [&] -> Task<void> { g(); };",
                    "auto f = [this](int a) -> uring::Task<int> { return g(a); };",
                    "spawn([x](Ring& r) { co_await r.go(); });", "return [=] { co_return; };",
                    "f([&, y = g(1)](std::function<void(int)> h) mutable noexcept { co_return; });"):
            self.assertEqual(found(patterns.capturing_coroutine, "\n" + bad), [2], bad)
        for good in ("auto f = [](Ring& r) -> Task<void> { co_await r.go(); };",
                     "auto f = [&] { return 1; };",
                     "auto f = [&] { run([](Ring& r) -> Task<void> { co_await r.go(); }); };",
                     "auto& [a, b] = c; co_return;", "[[nodiscard]] Task<void> f() { co_return; }",
                     "int a[3] = {}; co_return;", "v[i] = f(); { co_return; }", "// [&] { co_return; }"):
            self.assertEqual(found(patterns.capturing_coroutine, good), [], good)

    def test_rvalue_parameter(self):
        for bad in ("Task<void> f(Fd&& fd);", "uring::Task<std::expected<A, B>> C::f(int a,\n  Fd&& fd) {",
                    "auto f = [](Fd&& fd) -> Task<void> { co_return; };"):
            self.assertEqual(found(patterns.rvalue_task_parameter, bad), [1], bad)
        for good in ("Task(Task&& other) noexcept;", "void spawn(Task<void>&& task);",
                     "Task<void> f(Fd fd) { a && b; }",
                     "Task& operator=(Task&& other);"):
            self.assertEqual(found(patterns.rvalue_task_parameter, good), [], good)


class Rooms(unittest.TestCase):
    HEAD = "# x\n\n| room | what lives there | may use |\n|---|---|---|\n"
    ROWS = "| base | `Fd` | – |\n| net | sockets | base |\n| uring | ring | net |\n"
    CMAKE = "tlsplice_room(base)\ntlsplice_room(net USES base)\ntlsplice_room(uring USES base net LINKS x)\n"

    def whats(self, rows, cmake):
        return [str(finding) for finding in rooms.check_tables(self.HEAD + rows, cmake)]

    def test_agreement(self):
        self.assertEqual(self.whats(self.ROWS, self.CMAKE), [])
        self.assertEqual(self.whats(self.ROWS + "| cli | main | all |\n", self.CMAKE), [])

    def test_disagreement(self):
        self.assertRegex(self.whats(self.ROWS, self.CMAKE.replace("net USES base", "net"))[0],
                         r"README.md:6: room net ")
        self.assertRegex(self.whats(self.ROWS, self.CMAKE + "tlsplice_room(tls)\n")[0],
                         r"CMakeLists.txt:4: room tls ")
        self.assertRegex(self.whats(self.ROWS + "| tls | x | net |\n", self.CMAKE)[0],
                         r"README.md:8: room tls ")
        self.assertRegex(self.whats("", self.CMAKE)[0], "no table")

    def test_order(self):
        rows = "| net | sockets | base |\n| base | `Fd` | – |\n"
        self.assertRegex(self.whats(rows, "tlsplice_room(base)\ntlsplice_room(net USES base)\n")[0],
                         "does not stand above")

    def includes(self, line, path):
        allowed = {"base": set(), "net": {"base"}}
        source = Source(path, line + "\n")
        return [finding.what for check in (lambda s: rooms.check_includes(s, allowed), rooms.check_foreign)
                for finding in check(source)]

    def test_includes(self):
        self.assertEqual(self.includes('#include "tlsplice/base/fd.hpp"', "src/net/x.cpp"), [])
        self.assertEqual(self.includes('#include "tlsplice/net/x.hpp"', "include/tlsplice/net/y.hpp"), [])
        self.assertEqual(self.includes('#include "tlsplice/tls/x.hpp"', "src/cli/main.cpp"), [])
        self.assertEqual(len(self.includes('#include "tlsplice/net/x.hpp"', "src/base/x.cpp")), 1)
        self.assertEqual(len(self.includes('#include "tlsplice/tls/x.hpp"', "include/tlsplice/net/x.hpp")), 1)
        self.assertEqual(len(self.includes('#include "../tls/x.hpp"', "src/net/x.cpp")), 1)

    def test_foreign_headers(self):
        for header, owner in (("openssl/ssl.h", "tls"), ("liburing.h", "uring"), ("toml++/toml.h", "policy"),
                              ("CLI/CLI.hpp", "cli"), ("linux/tls.h", "ktls"), ("linux/tls.h", "netlink"),
                              ("bpf/bpf.h", "steering"), ("netlink/netlink.h", "netlink")):
            with self.subTest(header):
                self.assertEqual(self.includes(f"#include <{header}>", f"src/{owner}/x.cpp"), [])
                self.assertEqual(self.includes(f"#include <{header}>", f"tests/{owner}/x_test.cpp"), [])
                self.assertEqual(len(self.includes(f"#include <{header}>", "src/net/x.cpp")), 1)
                self.assertEqual(len(self.includes(f"# include <{header}>", "tests/net/x_test.cpp")), 1)

    def test_tests_exist(self):
        self.assertEqual(list(rooms.check_tests_exist(["src/net/x.cpp", "tests/net/x_test.cpp"])), [])
        self.assertEqual(len(list(rooms.check_tests_exist(["src/net/x.cpp", "tests/net/helper.cpp"]))), 1)

    def test_examples_are_loaded(self):
        example = Source("configs/a.toml", "")
        for text, findings in (("read configs/a.toml", 0), ('glob("configs/*.toml")', 0),
                               ("read configs/b.toml", 1)):
            self.assertEqual(len(list(rooms.check_configs_loaded([example, Source("tests/e2e/x.py", text)]))),
                             findings)


class Blanking(unittest.TestCase):
    def test_code_keeps_its_place(self):
        text = "a = \"x // y\"; // z {\nb = '\"'; /* {\n{ */ c = 1'000'000; d = R\"(\" { )\"; e = '\\'';\n"
        blanked = blank(text)
        self.assertEqual([len(line) for line in blanked.split("\n")],
                         [len(line) for line in text.split("\n")])
        self.assertNotIn("{", blanked)
        for kept in ("a = ", "b = ", "c = 1'000'000;", "d = ", "e = "):
            self.assertIn(kept, blanked)


if __name__ == "__main__":
    unittest.main()
