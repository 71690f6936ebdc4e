"""A TLS 1.3 client that makes its own records: padded, empty, of any type, damaged, under the next key.
The handshake and what is received are OpenSSL's (through Python's ssl); what is sent after the handshake is
sealed here, with libcrypto, under the secret that the key log told (RFC 8446 sections 5.2, 7.1 and 7.3)."""

import ctypes
import hmac
import ssl
import tempfile

from peers import TlsEnd, client_context

ALERT, HANDSHAKE, DATA, HEARTBEAT = 21, 22, 23, 24
CLOSE_NOTIFY = b"\x01\x00"
KEY_BYTES, IV_BYTES, TAG_BYTES = 16, 12, 16
_SUITE = "TLS_AES_128_GCM_SHA256"
_GET_TAG = 0x10  # EVP_CTRL_AEAD_GET_TAG

_crypto = ctypes.CDLL("libcrypto.so.3")
_crypto.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
_crypto.EVP_aes_128_gcm.restype = ctypes.c_void_p


def key_update(requested=False):
    return bytes([24, 0, 0, 1, int(requested)])


def _seal_aes_128_gcm(key, nonce, header, plain):
    context = ctypes.c_void_p(_crypto.EVP_CIPHER_CTX_new())
    length = ctypes.c_int()
    sealed = ctypes.create_string_buffer(len(plain) + TAG_BYTES)
    tag = ctypes.create_string_buffer(TAG_BYTES)
    cipher = ctypes.c_void_p(_crypto.EVP_aes_128_gcm())
    steps = (_crypto.EVP_EncryptInit_ex(context, cipher, None, key, nonce),
             _crypto.EVP_EncryptUpdate(context, None, ctypes.byref(length), header, len(header)),
             _crypto.EVP_EncryptUpdate(context, sealed, ctypes.byref(length), plain, len(plain)),
             _crypto.EVP_EncryptFinal_ex(context, sealed, ctypes.byref(length)),
             _crypto.EVP_CIPHER_CTX_ctrl(context, _GET_TAG, TAG_BYTES, tag))
    _crypto.EVP_CIPHER_CTX_free(context)
    assert steps == (1, 1, 1, 1, 1), steps
    return sealed.raw[:len(plain)] + tag.raw


def _expand_label(secret, label, length):
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\1", "sha256")[:length]


class Sealer:
    """One direction under one traffic secret after the other."""

    def __init__(self, secret):
        self._use(secret)

    def _use(self, secret):
        self._secret, self._sequence = secret, 0
        self._key = _expand_label(secret, b"key", KEY_BYTES)
        self._iv = int.from_bytes(_expand_label(secret, b"iv", IV_BYTES), "big")

    def seal(self, kind, body, padding=0):
        plain = body + bytes([kind]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(plain) + TAG_BYTES).to_bytes(2, "big")
        nonce = (self._iv ^ self._sequence).to_bytes(IV_BYTES, "big")
        self._sequence += 1
        return header + _seal_aes_128_gcm(self._key, nonce, header, plain)

    def next_key(self):
        self._use(_expand_label(self._secret, b"traffic upd", 32))


class RecordEnd(TlsEnd):
    """A client's side of a connection whose every record is in the test's hand."""

    def __init__(self, connection):
        with tempfile.NamedTemporaryFile("r") as log:
            context = client_context(ssl.TLSVersion.TLSv1_3)
            context.keylog_filename = log.name
            super().__init__(connection, context)
            secrets = dict(line.split()[::2] for line in log if line.startswith("CLIENT_TRAFFIC_SECRET_0"))
        assert self.tls.cipher()[0] == _SUITE, self.tls.cipher()
        self.sealer = Sealer(bytes.fromhex(secrets["CLIENT_TRAFFIC_SECRET_0"]))

    def send(self, data):
        for start in range(0, len(data), 16384):
            self.send_record(DATA, data[start:start + 16384])

    def send_record(self, kind, body, padding=0):
        self.socket.sendall(self.sealer.seal(kind, body, padding))

    def finish(self):
        self.send_record(ALERT, CLOSE_NOTIFY)

    def update_key(self, requested=False):
        self.send_record(HANDSHAKE, key_update(requested))
        self.sealer.next_key()


class LateEnd(RecordEnd):
    """Holds its Finished back until send_with_finished() puts it into one segment with what follows."""

    _held = None

    def _flush(self):
        if self._held is None and self._out.pending and self.tls.cipher():  # agreed: this is the Finished
            self._held = self._out.read()
        super()._flush()

    def send_with_finished(self, data):
        self.socket.sendall(self._held + data)
