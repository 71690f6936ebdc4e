"""Several suites of tests/e2e in one process: in a guest, where starting Python and making certificates is
slow, that is done once.

    suites.py 01_first_light_test.py "16_interop_test.py -k Clients -k Targets" ...
"""
import pathlib
import shlex
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))


def tests_of(said):
    name, *options = shlex.split(said)
    loader = unittest.TestLoader()
    if options:
        loader.testNamePatterns = [f"*{pattern}*" for pattern in options if pattern != "-k"]
    tests = loader.loadTestsFromName(name.removesuffix(".py"))
    if loader.errors or not tests.countTestCases():
        raise SystemExit("\n".join([f"{said}: there is no such test", *loader.errors]))
    return tests


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(map(tests_of, sys.argv[1:])))
    sys.exit(not result.wasSuccessful())
