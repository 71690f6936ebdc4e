"""HAProxy and nginx as Debian packages them, unpacked below build/bench/ and not installed: no service
starts, and the system stays as it is. What they need beyond what is installed is unpacked beside them."""

import pathlib
import re
import shutil
import subprocess
import sys

NAMES = ("haproxy", "nginx", "libnginx-mod-stream")


class Unavailable(Exception):
    """They cannot be had on this machine; the message says why."""


def unpack(folder, say):
    """Makes sure that they are below `folder`, which then has a usr/ like the system's."""
    root = folder / "unpacked"
    if (root / "usr/sbin/haproxy").exists() and (root / "usr/sbin/nginx").exists():
        return root
    if not shutil.which("apt-get"):
        raise Unavailable("apt-get is missing: HAProxy and nginx come from Debian packages")
    say("downloading HAProxy and nginx (once)")
    packages = folder / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir(parents=True)
    names = _needed()
    _run(["apt-get", "-o", "APT::Sandbox::User=root", "-q", "download", *names], cwd=packages)
    fresh = folder / "unpacked.new"
    shutil.rmtree(fresh, ignore_errors=True)
    for package in sorted(packages.glob("*.deb")):
        _run(["dpkg-deb", "-x", package, fresh])
    shutil.rmtree(root, ignore_errors=True)
    fresh.rename(root)
    return root


def libraries(root):
    """Where the dynamic linker finds what is not installed."""
    return ":".join(sorted({str(path.parent) for path in pathlib.Path(root, "usr/lib").rglob("*.so.*")}))


def _needed():
    """The packages and what they depend on, as far as that is not installed: what apt would install."""
    plan = _run(["apt-get", "-s", "--no-install-recommends", "install", *NAMES])
    planned = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    return sorted(set(planned) | set(NAMES))


def _run(command, **options):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, **options)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise Unavailable(f"{' '.join(map(str, command[:4]))} ...: {said}")
    return done.stdout


if __name__ == "__main__":  # tools/setup: the end-to-end tests have them as targets
    try:
        unpack(pathlib.Path(sys.argv[1]), lambda text: print(f"setup: {text}", flush=True))
    except Unavailable as error:
        sys.exit(f"setup: {error}")
