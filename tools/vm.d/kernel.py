"""Kernels to boot in a guest: Debian's own packages, downloaded by apt and unpacked; nothing is installed and
no root is needed. kernel(series, cache) gives what QEMU starts, (kernel, initramfs), and keeps it under
cache/<series>/ with the packages it came from; a change of this file or of init makes the initramfs anew from
those packages. A series that the machine's package sources lack is looked for in the Debian release that has
it, on the same mirror, through apt with a configuration of its own: the machine's sources and package lists
stay as they are. Instead of a series, whose newest kernel is taken, one kernel can be named as its package
is: 6.1.0-47 is linux-image-6.1.0-47-amd64. Debian keeps few old ones."""

import fcntl
import hashlib
import io
import json
import lzma
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tarfile

RELEASES = {"6.1": "bookworm", "6.12": "trixie", "7.2": "forky"}  # who has it when our sources lack it

# Loaded in this order, each after those it depends on. No kernel has all of the useful ones: some are built
# in or have another name there.
BUILT_IN_SOMEWHERE = {"virtio_pci", "virtio_console"}
NEEDED = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "tls")
USEFUL = ("aesni_intel", "ghash_clmulni_intel", "gcm", "ccm", "ctr",
          "chacha_x86_64", "poly1305_x86_64", "chacha_generic", "poly1305_generic", "chacha",
          "chacha20poly1305",
          "tcp_diag", "unix_diag", "veth", "tun", "sch_netem")
_MODULE = re.compile(r".*/kernel/(?:arch|crypto|lib|fs|net|drivers/(?:virtio|char|net))/"
                     r"(?:.*/)?([^/]+)\.ko(\.xz)?$")
_IMAGE = re.compile(r".*/vmlinuz[^/]*$")
_BUSYBOX = re.compile(r".*/bin/busybox$")

_HERE = pathlib.Path(__file__).resolve().parent
_KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Unavailable(Exception):
    """The kernel cannot be had on this machine; the message says why."""


def series_of(name):
    """The series of a kernel, of which `name` is one; None when we know no such series."""
    return next((series for series in RELEASES if f"{name}.".startswith(f"{series}.")), None)


def kernel(name, cache, say):
    folder = cache / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = b"".join((_HERE / name).read_bytes() for name in ("kernel.py", "init"))
        recipe = hashlib.sha256(sources).hexdigest()
        stamp = folder / "recipe"
        if not stamp.exists() or stamp.read_text() != recipe:
            stamp.unlink(missing_ok=True)
            _make(name, folder, say)
            stamp.write_text(recipe)
    return folder / "image", folder / "initramfs"


def _make(name, folder, say):
    for command in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(command):
            raise Unavailable(f"{command} is missing: kernels come from Debian packages")
    listed = folder / "packages.json"
    if not listed.exists():
        say(f"downloading the kernel {name} (once)")
        packages = folder / "packages"
        shutil.rmtree(packages, ignore_errors=True)
        packages.mkdir()
        listed.write_text(json.dumps(_download(name, folder, packages)))
    archives = [folder / "packages" / file for file in json.loads(listed.read_text())]
    image, busybox, modules = None, None, {}
    for archive in archives:
        for path, content in _files(archive, (_MODULE, _IMAGE, _BUSYBOX)):
            if match := _MODULE.match(path):
                modules[match[1].replace("-", "_")] = (content, bool(match[2]))
            elif _IMAGE.match(path):
                image = content
            else:
                busybox = content
    lacking = sorted(set(NEEDED) - modules.keys() - BUILT_IN_SOMEWHERE)
    if image is None or busybox is None or lacking:
        names = ", ".join(archive.name for archive in archives)
        raise Unavailable(f"no {' or '.join(lacking) or 'image or busybox'} in {names}")
    (folder / "image").write_bytes(_unpacked(image))
    (folder / "initramfs").write_bytes(_initramfs(busybox, _in_order(modules)))


def _download(name, folder, target):
    """Fetches the packages of that kernel or of the newest one of that series, and busybox; gives their file
    names."""
    release = RELEASES[series_of(name)]
    failure = (f"no linux-image-{name}* package in the package sources of this machine,"
               f" nor in Debian's release '{release}' on the same mirror")
    for apt in _sources(release, folder):
        names = _packages(name, apt)
        if not names:
            continue
        done = _run(["apt-get", *apt, "-q", "download", *names], cwd=target)
        files = sorted(file.name for file in target.glob("*.deb"))
        if done.returncode == 0 and len(files) == len(names):
            shutil.rmtree(folder / "apt", ignore_errors=True)
            return files
        failure = f"apt could not download {' '.join(names)}: {done.stderr.strip() or 'no reason given'}"
        for file in files:
            (target / file).unlink()
    raise Unavailable(failure)


def _sources(release, folder):
    """Options for apt, each a wider view of what can be had, from what is at hand to what is asked for."""
    root = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    yield root
    own = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (own / part).mkdir(parents=True, exist_ok=True)
    fresh = [*root, "-o", f"Dir::State::Lists={own / 'lists'}", "-o", f"Dir::Cache={own / 'cache'}",
             "-o", "Acquire::Languages=none"]
    _run(["apt-get", *fresh, "-q", "update"])
    yield fresh
    mirror = _mirror(fresh)
    if not mirror:
        return
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    (own / "sources.list").write_text(f"deb {signed}{mirror} {release} main\n")
    other = [*fresh, "-o", f"Dir::Etc::SourceList={own / 'sources.list'}", "-o", "Dir::Etc::SourceParts=-"]
    _run(["apt-get", *other, "-q", "update"])
    yield other

def _mirror(apt):
    """The address from which this machine takes Debian's main archive."""
    listed = _run(["apt-get", *apt, "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
                   "Created-By: Packages"])
    for line in listed.stdout.splitlines():
        if line.startswith("Debian|Debian|"):
            return line.split("|")[2]
    return None


def _packages(kernel, apt):
    of_series = r"\.[0-9]+(?:-[0-9]+|\+deb[0-9]+)?" if kernel in RELEASES else ""
    pattern = rf"linux-image-{re.escape(kernel)}{of_series}-amd64"
    found = _run(["apt-cache", *apt, "search", "--names-only",
                  "^linux-(image|binary|modules)-|^busybox-static$"])
    names = {line.split()[0] for line in found.stdout.splitlines() if line.strip()}
    kernels = sorted((name for name in names if re.fullmatch(pattern, name)),
                     key=lambda name: [int(number) for number in re.findall("[0-9]+", name)])
    if not kernels or "busybox-static" not in names:
        return None
    release = kernels[-1].removeprefix("linux-image-")
    split = [f"linux-binary-{release}", f"linux-modules-{release}"]  # where these exist, the image is empty
    return [*(split if names.issuperset(split) else [kernels[-1]]), "busybox-static"]


def _run(command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env={**os.environ, "LC_ALL": "C.UTF-8"}, **options)


def _files(archive, wanted):
    """The regular files of a package whose path matches one of the patterns, as (path, content)."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
            for member in tar:
                if member.isfile() and any(pattern.match(member.name) for pattern in wanted):
                    yield member.name, tar.extractfile(member).read()


def _unpacked(image):
    """The ELF file within a bzImage (QEMU boots it by its PVH entry), to spare the guest two seconds of
    decompressing; the image itself where that cannot be done here."""
    start, length = struct.unpack_from("<II", image, 0x248)
    start += (image[0x1F1] + 1) * 512
    payload = image[start:start + length - 4]  # its size follows in 4 bytes
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd") and shutil.which("zstd"):
        return subprocess.run(["zstd", "-dcq"], input=payload, stdout=subprocess.PIPE, check=True).stdout
    return image


def _in_order(modules):
    """The modules to load, as (name, content), every one after those it depends on."""
    ordered = {}

    def add(name):
        if name in ordered or name not in modules:
            return  # the latter is built into the kernel
        content, compressed = modules[name]
        content = lzma.decompress(content) if compressed else content
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends[1].decode().split(",") if depends else ():
            add(other.replace("-", "_"))
        ordered[name] = content

    for name in NEEDED + USEFUL:
        add(name)
    return ordered.items()


def _initramfs(busybox, modules):
    """A cpio archive, not compressed: unpacking is the guest's work, and it is slow."""
    archive = io.BytesIO()
    number = 0

    def entry(name, mode, content=b"", device=(0, 0)):
        nonlocal number
        number += 1
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        for part in (b"070701" + b"".join(b"%08X" % field for field in fields) + path, content):
            archive.write(part + b"\0" * (-(archive.tell() + len(part)) % 4))

    for folder in ("bin", "dev", "host", "layers", "modules", "new", "proc", "settings", "sys"):
        entry(folder, 0o040755)
    entry("dev/console", 0o020600, device=(5, 1))
    entry("bin/busybox", 0o100755, busybox)
    for applet in ("sh", "mount", "mkdir", "insmod", "ln", "cp", "switch_root", "poweroff"):
        entry(f"bin/{applet}", 0o120777, b"busybox")
    entry("init", 0o100755, (_HERE / "init").read_bytes())
    for position, (name, content) in enumerate(modules):
        entry(f"modules/{position:02}-{name}", 0o100644, content)
    entry("TRAILER!!!", 0)
    return archive.getvalue()
