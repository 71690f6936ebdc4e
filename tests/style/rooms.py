"""Checks of the house: README's table of rooms, CMake's and every include must tell the same story. The
table's order is the proof that there is no cycle, so a room uses only rooms above it; a library is known to
one room alone, a header of the kernel to those that speak its language."""

import re

from source import Finding

FOREIGN_HEADERS = {
    r"openssl/": ("tls",), r"liburing": ("uring",), r"toml\+\+/|toml\.hpp": ("policy",), r"CLI/": ("cli",),
    r"linux/tls\.h": ("ktls", "netlink"), r"bpf/": ("steering",), r"netlink/": ("netlink",),
    r"nlohmann/": ("admin", "control", "master", "cli"), r"n?curses\.h": ("cli",),
    r"microhttpd\.h": ("monitor",), r"event2/": ("monitor",), r"curl/": ("monitor",),
}
HEADING = re.compile(r"^\|\s*room\s*\|\s*what lives there\s*\|\s*may use\s*\|\s*$")
TOP_ROOM = "cli"  # the program itself: no library, may use every room


def read_table(readme):
    """[(room, rooms it may use, line)] in the order of README's table."""
    lines = readme.splitlines()
    start = next((number for number, line in enumerate(lines) if HEADING.match(line)), None)
    if start is None:
        return []
    rows = []
    for number in range(start + 2, len(lines)):
        if not lines[number].startswith("|"):
            break
        cells = [cell.strip() for cell in lines[number].strip().strip("|").split("|")]
        above = [room for room, _, _ in rows]
        uses = above if cells[-1].startswith("all") else [word.strip(" `") for word in cells[-1].split(",")]
        rows.append((cells[0].strip("` "), [use for use in uses if use not in ("", "–", "-")], number + 1))
    return rows


def read_cmake(text):
    """{room: (rooms in its USES, line)} of the tlsplice_room calls."""
    rooms = {}
    for found in re.finditer(r"^tlsplice_room\(\s*(\w+)([^)]*)\)", text, re.MULTILINE):
        uses = re.search(r"\bUSES\b((?:\s+(?!LINKS\b)[\w:]+)*)", found.group(2))
        line = text.count("\n", 0, found.start()) + 1
        rooms[found.group(1)] = (uses.group(1).split() if uses else [], line)
    return rooms


def closure(uses):
    """{room: every room it uses, directly or through another}; a cycle ends where it bites itself."""
    def reach(room, seen):
        for used in uses.get(room, ()):
            if used not in seen:
                seen.add(used)
                reach(used, seen)
        return seen

    return {room: reach(room, set()) for room in uses}


def check_tables(readme, cmake):
    table, built = read_table(readme), read_cmake(cmake)
    if not table:
        yield Finding("README.md", 1, "no table with the heading | room | what lives there | may use |")
        return
    yield from _check_order(table)
    named = closure({room: uses for room, uses, _ in table})
    linked = closure({room: uses for room, (uses, _) in built.items()})
    for room, _, line in table:
        if room != TOP_ROOM and room not in built:
            yield Finding("README.md", line, f"room {room} is not in CMakeLists.txt (tlsplice_room)")
        elif room != TOP_ROOM and named[room] != linked[room]:
            yield Finding("README.md", line, f"room {room} may use {_list(named[room])} here, "
                                             f"but CMakeLists.txt gives it {_list(linked[room])}")
    for room, (_, line) in built.items():
        if room not in named:
            yield Finding("CMakeLists.txt", line, f"room {room} is not in README.md's table of rooms")


def _check_order(table):
    above = set()
    for room, uses, line in table:
        for used in uses:
            if used not in above:
                yield Finding("README.md", line, f"room {room} uses {used}, which does not stand above it")
        if room in above:
            yield Finding("README.md", line, f"room {room} stands here twice")
        above.add(room)


def _list(rooms):
    return ", ".join(sorted(rooms)) or "nothing"


def room_of(path):
    found = re.match(r"(?:src|include/tlsplice)/(\w+)/", path)
    return found.group(1) if found else None


def includes(source):
    for number, line in enumerate(source.lines, 1):
        found = re.match(r'\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")', line)
        if found:
            yield number, found.group(1) or found.group(2)


def check_includes(source, allowed):
    """`allowed` is the closure of README's table. A room includes its own headers and the doors it may
    use."""
    room = room_of(source.path)
    if room is None or not source.is_cpp:
        return
    for number, header in includes(source):
        door = re.match(r"tlsplice/(\w+)/", header)
        if door and room != TOP_ROOM and door.group(1) not in {room} | allowed.get(room, set()):
            yield source.finding(number, f"room {room} may not use {door.group(1)} (README.md, the rooms)")
        if "../" in header or re.match(r"src/", header):
            yield source.finding(number, f"'{header}' goes around the doors")


def check_foreign(source):
    """Programs of tools/ stand outside the house."""
    if not source.is_cpp or source.path.startswith("tools/"):
        return
    for number, header in includes(source):
        for pattern, owners in FOREIGN_HEADERS.items():
            homes = tuple(f"{place}/{owner}/" for owner in owners
                          for place in ("src", "include/tlsplice", "tests"))
            if "steering" in owners:
                homes += ("bpf/",)  # what it loads
            if re.match(pattern, header) and not source.path.startswith(homes):
                yield source.finding(number, f"<{header}> belongs to {' and '.join(owners)} alone")


def check_tests_exist(paths):
    """Every room with code has a folder of tests. The asserts of wire are its tests, made by the compiler."""
    rooms = {found.group(1) for found in (re.match(r"src/(\w+)/\w+\.cpp$", path) for path in paths) if found}
    for room in sorted(rooms - {"wire"}):
        if not any(re.match(rf"tests/{room}/\w+_test\.(?:cpp|py)$", path) for path in paths):
            yield Finding(f"src/{room}", 1, f"room {room} has no test: tests/{room}/*_test.cpp")


def check_configs_loaded(sources):
    """Every example is named by a test, or some test reads all of configs/."""
    tests = [source for source in sources
             if source.path.startswith("tests/") and not source.path.startswith("tests/style/")]
    lists = re.compile(r"directory_iterator|glob\(|iterdir\(")
    reads_all = any(re.search(r"\bconfigs\b", test.text) and lists.search(test.text) for test in tests)
    for source in sources:
        example = re.match(r"configs/(\w[\w-]*\.toml)$", source.path)
        if example and not reads_all and not any(example.group(1) in test.text for test in tests):
            yield Finding(source.path, 1, "no test loads this example")
