"""Checks of one file's outer form: how it opens, how wide and how long it is, what it must not name. Each
takes a Source and yields findings."""

import re

from source import closing

COLUMNS_MAX = 110
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
OPENING_LINES = {".hpp": (2, 8)}
OPENING_LINES_OTHERWISE = (1, 12)

# Split up so that this file does not contain what it looks for.
_MACHINE_PATH = re.compile(r"(?<![\w$}.)\]*-])/(?:[w]ork|[r]oot|[h]ome/[a-z]\w*|tmp/[b]ash_jobs)(?![\w.-])")
_PACKAGE_HOST = re.compile(
    r"\b(?:deb|security|ftp|snapshot|httpredir)[.]debian[.]org|\b(?:archive|security)[.]ubuntu[.]com"
    r"|\b(?:pypi|pythonhosted|crates|npmjs|rubygems)[.](?:org|io|com)|\bproxy[.]golang[.]org"
    r"|\b(?:apt|pip|npm|registry|artifactory|nexus|mirrors?)[.][a-z0-9-]+[.][a-z]{2,}", re.IGNORECASE)


def width(source):
    if not (source.is_cpp or source.is_script):
        return
    for number, line in enumerate(source.lines, 1):
        if len(line) > COLUMNS_MAX:
            yield source.finding(number, f"{len(line)} columns, at most {COLUMNS_MAX}")


def length(source):
    if (source.is_cpp or source.is_script) and len(source.lines) > FILE_LINES_MAX:
        yield source.finding(FILE_LINES_MAX + 1, f"{len(source.lines)} lines, at most {FILE_LINES_MAX}")


def trailing_whitespace(source):
    if source.path.startswith("tests/") and source.suffix in (".md", ".txt"):
        return  # copies of what others wrote, to the byte
    for number, line in enumerate(source.lines, 1):
        if line != line.rstrip():
            yield source.finding(number, "whitespace at the end of the line")
    if source.text and not source.text.endswith("\n"):
        yield source.finding(len(source.lines), "no newline at the end of the file")


def machine_names(source):
    for number, line in enumerate(source.lines, 1):
        for found in filter(None, (_MACHINE_PATH.search(line), _PACKAGE_HOST.search(line))):
            yield source.finding(number, f"'{found.group()}' is the name of a path or host of one machine")


def opening(source):
    """Prose on top. A .cpp may open with its own header instead, which then has the prose."""
    if not (source.is_cpp or source.is_script) or source.suffix == ".c" and source.path.endswith(".bpf.c"):
        return
    lines = source.lines[1:] if source.text.startswith("#!") else source.lines
    first = 2 if source.text.startswith("#!") else 1
    if source.suffix == ".cpp" and _opens_with_own_header(source):
        return
    count = _opening_lines(lines, "//" if source.is_cpp else "#")
    least, most = OPENING_LINES.get(source.suffix, OPENING_LINES_OTHERWISE)
    if count == 0:
        yield source.finding(first, "opens without a comment that says what the file answers for")
    elif not least <= count <= most:
        yield source.finding(first, f"opens with {count} lines of comment instead of {least} to {most}")


def _opens_with_own_header(source):
    first = source.lines[0] if source.lines else ""
    include = re.match(r'#include "(?:[\w/]+/)?(\w+)\.hp*"', first)
    return bool(include) and source.path.endswith(f"/{include.group(1)}.cpp")


def _opening_lines(lines, mark):
    """How many lines of comment, or of a Python docstring or a C comment, a file opens with."""
    text = "\n".join(lines)
    block = re.match(r'("""|\'\'\'|/\*)(.*?)("""|\'\'\'|\*/)', text, re.DOTALL)
    if block:
        return len([line for line in block.group().splitlines() if line.strip(' "\'*/')])
    count = 0
    while count < len(lines) and lines[count].startswith(mark):
        count += 1
    return count


def header_guard(source):
    """A C++ header says #pragma once; one that C reads too has a guard, which every compiler knows."""
    if source.suffix == ".hpp" and not re.search(r"^#pragma once$", source.text, re.MULTILINE):
        yield source.finding(1, "a header without #pragma once")
    if source.suffix == ".h":
        guard = re.search(r"^#ifndef (\w+)\n#define (\w+)$", source.text, re.MULTILINE)
        if not guard or guard.group(1) != guard.group(2):
            yield source.finding(1, "a C header without an include guard")


def function_length(source):
    if not source.is_cpp:
        return
    for name, begin, end in functions(source):
        lines = source.line_at(end) - source.line_at(begin) + 1
        if lines > FUNCTION_LINES_MAX:
            yield source.finding_at(begin, f"{name} has {lines} lines, at most {FUNCTION_LINES_MAX}")


_DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
_ACCESS = re.compile(r"\b(?:public|private|protected)\s*$")
_NAMESPACE = re.compile(r"(?:inline\s+)?namespace\b|extern\s*\"")
_TYPE = re.compile(r"(?:^|\s)(?:class|struct|union|enum)\b")
_PARAMETERS_LAST = re.compile(r"\)(?:\s|\b(?:const|noexcept|override|final)\b|&)*$")
_BODY_FOLLOWS = re.compile(r"(?:[)}]|\b(?:const|noexcept|override|final|mutable|try)|&)$|->[^;=]*$")


def functions(source):
    """(name, start, end) of every function that stands in a namespace or a class, by counting braces. A
    lambda or a local class belongs to the function around it; an initializer in braces is none."""
    text = _DIRECTIVE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), source.blanked)
    head_begin = position = 0
    while position < len(text):
        character = text[position]
        if character in ";}" or character == ":" and _ACCESS.search(text, head_begin, position):
            head_begin = position + 1
        elif character == "(":
            position = closing(text, position)
        elif character == "{":
            head = text[head_begin:position].strip()
            if _opens_scope(head):
                head_begin = position + 1
            else:
                end = closing(text, position)
                if _BODY_FOLLOWS.search(head):
                    begin = head_begin + len(text[head_begin:]) - len(text[head_begin:].lstrip())
                    yield _name(head), begin, end
                    head_begin = end + 1
                position = end
        position += 1


def _opens_scope(head):
    if _NAMESPACE.match(head):
        return True
    while (bare := re.sub(r"<[^<>]*>|\([^()]*\)", " ", head)) != head and not _PARAMETERS_LAST.search(head):
        head = bare
    return bool(_TYPE.search(head)) and not _PARAMETERS_LAST.search(head)


def _name(head):
    found = re.search(r"([\w:~]+|operator\s*[^\s\w(]+)\s*\(", head)
    return found.group(1) if found else "a function"
