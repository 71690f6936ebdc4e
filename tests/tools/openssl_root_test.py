"""Promised: another OpenSSL can be linked with -DOPENSSL_ROOT_DIR. Checked by configuring the project against
a prefix of its own, made of links to the system's OpenSSL, and by the commands that the build would run: its
headers are found there before the system's, and the program is linked with its libraries."""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def output_of(*command):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pkg_config(question):
    return pathlib.Path(output_of("pkg-config", question, "openssl").strip())


class AnotherOpenSsl(unittest.TestCase):
    def setUp(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="tlsplice-openssl-")))
        self.prefix, self.build = folder / "prefix", folder / "build"
        for kind in ("include", "lib"):
            (self.prefix / kind).mkdir(parents=True)
        include, libraries = pkg_config("--variable=includedir"), pkg_config("--variable=libdir")
        (self.prefix / "include/openssl").mkdir()
        for source in (include / "openssl", include / libraries.name / "openssl"):  # the latter is Debian's
            for header in source.glob("*.h"):
                os.symlink(header, self.prefix / "include/openssl" / header.name)
        for library in ("libssl.so", "libcrypto.so"):
            os.symlink(libraries / library, self.prefix / "lib" / library)

    def test_it_is_found_compiled_against_and_linked(self):
        output_of("cmake", "--preset", "release", "-B", self.build, f"-DOPENSSL_ROOT_DIR={self.prefix}",
                  "-DTLSPLICE_TESTS=OFF")
        commands = output_of("ninja", "-C", self.build, "-t", "commands", "tlsplice").splitlines()
        compiled = [line for line in commands if " -c " in line and line.endswith("/src/tls/context.cpp")]
        self.assertTrue(compiled)
        for line in compiled:
            self.assertIn(f" {self.prefix}/include ", line)
        link = commands[-1]
        for library in ("libssl.so", "libcrypto.so"):
            self.assertIn(f" {self.prefix}/lib/{library}", link)


if __name__ == "__main__":
    unittest.main(verbosity=2)
