"""What the checks look at: the project's own files, a file's text with comments and literals blanked out, and
a finding. Blanking keeps every line and column where it was, so that a position in the blanked text is one in
the file."""

import dataclasses
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CPP_SUFFIXES = {".cpp", ".hpp", ".h", ".c"}
SKIPPED_FOLDERS = {".git", "build", "__pycache__"}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    what: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.what}"


class Source:
    """One text file: path relative to the root with '/', and its text."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.splitlines()
        self._blanked = None

    @property
    def suffix(self):
        return pathlib.PurePosixPath(self.path).suffix

    @property
    def is_cpp(self):
        return self.suffix in CPP_SUFFIXES

    @property
    def is_script(self):
        return self.suffix == ".py" or self.is_shell or self.text.startswith("#!/usr/bin/env python3")

    @property
    def is_shell(self):
        return bool(re.match(r"#!\S*(?:/| )(?:ba|da)?sh\b", self.text))

    @property
    def blanked(self):
        if self._blanked is None:
            self._blanked = blank(self.text)
        return self._blanked

    def line_at(self, position):
        return self.text.count("\n", 0, position) + 1

    def finding(self, line, what):
        return Finding(self.path, line, what)

    def finding_at(self, position, what):
        return Finding(self.path, self.line_at(position), what)


_NOT_CODE = re.compile(
    r"""//(?:\\\n|[^\n])*                                  # a comment to the end of the line
      | /\*.*?(?:\*/|\Z)                                   # a comment in lines
      | (?:u8|[uUL])?R"(?P<end>[^()\\\s]{0,16})\(.*?\)(?P=end)"   # a raw string
      | "(?:\\.|[^"\\\n])*"
      | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'                # a character, not the separator in 1'000
    """, re.VERBOSE | re.DOTALL)


def blank(text):
    """C++ with comments and literals turned into spaces; quotes stay, so that a literal is still seen to be
    there."""
    def spaces(match):
        found = match.group()
        inner = re.sub(r"[^\n]", " ", found)
        return f"{found[0]}{inner[1:-1]}{found[-1]}" if found[0] in "\"'" else inner

    return _NOT_CODE.sub(spaces, text)


def closing(text, position):
    """The position of the bracket that closes the one at `position`, or the end of the text."""
    pairs = {"(": ")", "[": "]", "{": "}", "<": ">"}
    opening, end = text[position], pairs[text[position]]
    depth = 0
    for index in range(position, len(text)):
        if text[index] == opening:
            depth += 1
        elif text[index] == end and not (end == ">" and text[index - 1] == "-"):
            depth -= 1
            if depth == 0:
                return index
    return len(text) - 1


def project_files():
    """Paths of what is tracked, and of what will be: everything git does not ignore."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = sorted(set(filter(None, listed.stdout.split("\0"))))
    else:  # an unpacked archive
        files = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        paths = sorted(path.as_posix() for path in files if not SKIPPED_FOLDERS & set(path.parts))
    return [path for path in paths if (ROOT / path).is_file()]


def project_sources():
    """Every project file that is text."""
    sources = []
    for path in project_files():
        try:
            sources.append(Source(path, (ROOT / path).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
        except FileNotFoundError:  # gone since it was listed
            continue
    return sources
