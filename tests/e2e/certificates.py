"""Certificates for the tests, made on demand with openssl in a folder of their own: a root that clients
trust, an intermediate, and leaves of any key. A chain file holds leaf and intermediate, so a client that
knows only the root proves that the whole chain was sent."""

import functools
import pathlib
import subprocess
import tempfile

_EXTENSIONS = """basicConstraints=CA:FALSE
subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1
"""
_CA_EXTENSIONS = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n"
_CA_CONFIG = """[ca]
default_ca = expired
[expired]
database = {folder}/index
new_certs_dir = {folder}
default_md = sha256
policy = anything
rand_serial = yes
[anything]
commonName = supplied
"""
_KEYS = {"rsa-2048": ["rsa:2048"], "rsa-3072": ["rsa:3072"], "rsa-4096": ["rsa:4096"],
         "ec-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
         "ec-384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]}


class Certificates:
    def __init__(self):
        self._keep = tempfile.TemporaryDirectory(prefix="tlsplice-e2e-certificates-")
        self.folder = pathlib.Path(self._keep.name)
        (self.folder / "leaf.ext").write_text(_EXTENSIONS)
        (self.folder / "ca.ext").write_text(_CA_EXTENSIONS)
        self.root = self.folder / "root.pem"
        self._openssl("req", "-x509", *self._new_key("root", "ec-256"), "-days", "30",
                      "-subj", "/CN=tlsplice test root", "-out", self.root)
        self._request("intermediate", "ec-256", "tlsplice test intermediate")
        self._sign("intermediate", "root", "ca.ext")

    @functools.cache
    def leaf(self, key="rsa-2048", expired=False):
        """{"chain": path, "key": path}, as the configuration wants it; the same for the same key."""
        name = f"{'expired-' if expired else ''}{key}"
        self._request(name, key, "localhost")
        if expired:
            self._sign_expired(name)
        else:
            self._sign(name, "intermediate", "leaf.ext")
        with open(self.folder / f"{name}.pem", "a") as chain:
            chain.write((self.folder / "intermediate.pem").read_text())
        return {"chain": self.folder / f"{name}.pem", "key": self.folder / f"{name}.key"}

    def _new_key(self, name, key):
        return ["-newkey", *_KEYS[key], "-nodes", "-keyout", self.folder / f"{name}.key"]

    def _request(self, name, key, common_name):
        self._openssl("req", "-new", *self._new_key(name, key), "-subj", f"/CN={common_name}",
                      "-out", self.folder / f"{name}.csr")

    def _sign(self, name, issuer, extensions):
        self._openssl("x509", "-req", "-in", self.folder / f"{name}.csr", "-days", "30", "-CAcreateserial",
                      "-CA", self.folder / f"{issuer}.pem", "-CAkey", self.folder / f"{issuer}.key",
                      "-extfile", self.folder / extensions, "-out", self.folder / f"{name}.pem")

    def _sign_expired(self, name):
        """x509 signs no past dates before OpenSSL 3.4; ca does."""
        (self.folder / "index").touch()
        (self.folder / "ca.conf").write_text(_CA_CONFIG.format(folder=self.folder))
        self._openssl("ca", "-batch", "-notext", "-config", self.folder / "ca.conf",
                      "-startdate", "20200101000000Z", "-enddate", "20200201000000Z",
                      "-cert", self.folder / "intermediate.pem", "-keyfile", self.folder / "intermediate.key",
                      "-extfile", self.folder / "leaf.ext", "-in", self.folder / f"{name}.csr",
                      "-out", self.folder / f"{name}.pem")

    def _openssl(self, *arguments):
        done = subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"


@functools.cache
def certificates():
    """The one set of this test process."""
    return Certificates()
