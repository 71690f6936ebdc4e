"""Checks for what must not be written in C++ here, because it has bitten before: descriptors closed by hand,
coroutine lambdas that capture, references to temporaries handed to a task, tests that change the code they
test."""

import re

from source import closing

_CLOSE = re.compile(
    r"(?:^|[;{}()=!&|?,]|(?<!:):(?=[\s:])|\breturn\b)[ \t]*(?<![\w>])(?:::)?close\s*\((?!\s*\))",
    re.MULTILINE)
_LAMBDA = re.compile(r"\[(?!\[)")
_KEYWORDS_BEFORE_LAMBDA = {"return", "co_return", "co_await", "co_yield", "case", "else"}
_TASK = re.compile(r"\bTask\s*<")
_FUNCTION_NAME = re.compile(r"\s*(?:[\w:]|operator\s*[^\s\w(]+)+\s*\(")
_TODO = re.compile(r"\b(?:T[O]DO\b(?!\([a-z][a-z0-9 -]*\): \S)|F[I]XME\b|X[X]X\b)")
_TEST_CONDITION = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*\b\w*TEST\w*", re.MULTILINE)


def named_close(source):
    if source.path == "src/base/fd.cpp":
        return
    for found in _CLOSE.finditer(source.blanked):
        yield source.finding_at(found.end(), "closes a descriptor by hand; let a base::Fd own it")


def using_namespace(source):
    for found in re.finditer(r"\busing\s+namespace\s+([\w:]+)", source.blanked):
        if not found.group(1).endswith("literals"):
            yield source.finding_at(found.start(), f"using namespace {found.group(1)}")


def todo_without_type(source):
    for number, line in enumerate(source.lines, 1):
        found = _TODO.search(line)
        if found:
            yield source.finding(number, f"{found.group()} without a type; write {'TO' + 'DO'}(kind): what")


def test_condition(source):
    for found in _TEST_CONDITION.finditer(source.blanked):
        yield source.finding_at(found.end(), "code that depends on being tested")


def capturing_coroutine(source):
    """What a lambda captures lives in the lambda, not in the frame: it is gone when the coroutine goes on."""
    found = list(lambdas(source.blanked))
    for capture, head, begin, body, end in found:
        own = list(source.blanked[body:end])
        for _, _, _, inner, inner_end in found:
            if body < inner and inner_end < end:
                own[inner - body:inner_end - body] = " " * (inner_end - inner)
        suspends = re.search(r"\bco_(?:await|return|yield)\b", "".join(own))
        if capture.strip() and (suspends or re.search(r"->\s*(?:\w+::)*Task\b", head)):
            yield source.finding_at(begin, "a coroutine lambda captures; pass parameters")


def lambdas(text):
    """(capture, from parameters to body, position, start and end of the body) of every lambda, also nested
    ones."""
    for found in _LAMBDA.finditer(text):
        before = re.search(r"(\w+|[\])\"'>])?\s*$", text[:found.start()]).group(1)
        if before and before not in _KEYWORDS_BEFORE_LAMBDA or text[found.start() - 1:found.start()] == "[":
            continue
        bracket = closing(text, found.start())
        position = bracket + 1
        parameters = re.compile(r"\s*(?:<[^{}()]*>\s*)?\(").match(text, position)
        if parameters:
            position = closing(text, parameters.end() - 1) + 1
        tail = re.compile(r"[^{};()=]*(?:\([^{};()]*\)[^{};()=]*)*\{").match(text, position)
        if tail:
            body = tail.end() - 1
            capture, head = text[found.start() + 1:bracket], text[bracket + 1:body]
            yield capture, head, found.start(), body, closing(text, body)


def rvalue_task_parameter(source):
    """A reference parameter is not copied into the frame, and an rvalue dies at the end of the caller's
    expression."""
    text = source.blanked
    for found in _TASK.finditer(text):
        name = _FUNCTION_NAME.match(text, closing(text, found.end() - 1) + 1)
        if name:
            parameters = text[name.end():closing(text, name.end() - 1)]
            if "&&" in parameters:
                yield source.finding_at(name.start(), "a Task function takes &&; take it by value")
    for _, head, begin, _, _ in lambdas(text):
        if re.search(r"->\s*(?:\w+::)*Task\b", head) and "&&" in head.split("->")[0]:
            yield source.finding_at(begin, "a Task lambda takes &&; take it by value")
