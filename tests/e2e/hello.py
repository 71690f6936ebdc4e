"""ClientHellos by hand, for what no library would send: any suite under any protocol, any order, any
extension. ask() sends one and returns what the server answers: a ServerHello, an Alert, or None when it
only closes."""

import os
import socket
import struct
from dataclasses import dataclass, field

from harness import PATIENCE

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304
SUITES = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B, "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-ECDSA-AES128-SHA256": 0xC023, "ECDHE-RSA-AES128-SHA256": 0xC027,
    "ECDHE-ECDSA-AES128-SHA": 0xC009, "ECDHE-RSA-AES128-SHA": 0xC013,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C, "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-ECDSA-AES256-SHA384": 0xC024, "ECDHE-RSA-AES256-SHA384": 0xC028,
    "ECDHE-RSA-AES256-SHA": 0xC014, "ECDHE-ECDSA-AES256-SHA": 0xC00A,
    "AES128-GCM-SHA256": 0x009C, "AES128-SHA256": 0x003C, "AES128-SHA": 0x002F,
    "AES256-GCM-SHA384": 0x009D, "AES256-SHA256": 0x003D, "AES256-SHA": 0x0035, "DES-CBC3-SHA": 0x000A,
    "TLS_AES_128_GCM_SHA256": 0x1301, "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}
NAMES = {code: name for name, code in SUITES.items()}

EXT_GROUPS, EXT_POINTS, EXT_SIGNATURES, EXT_EMS, EXT_SESSION_TICKET = 10, 11, 13, 23, 35
EXT_VERSIONS, EXT_KEY_SHARE, EXT_RENEGOTIATION = 43, 51, 0xFF01
RECORD_ALERT, RECORD_HANDSHAKE = 21, 22
_SERVER_HELLO = 2

# A client's public value must be a point of its curve; the generators are. Nothing gets decrypted.
_P256 = bytes.fromhex("046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                      "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
_P384 = bytes.fromhex("04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38"
                      "5502f25dbf55296c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29"
                      "f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f")
_SHARES = ((0x001D, bytes([9]) + bytes(31)), (0x0017, _P256), (0x0018, _P384))
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)


@dataclass
class ServerHello:
    version: int
    suite: str
    session_id: bytes
    compression: int
    extensions: dict = field(default_factory=dict)


@dataclass
class Alert:
    level: int
    description: int


def _vector(width, data):
    return len(data).to_bytes(width, "big") + data


def _numbers(values):
    return b"".join(struct.pack(">H", value) for value in values)


def client_hello(version, suites, extra=(), compression=b"\0", session_id=b""):
    """The whole record. `version` is the only one offered; `extra`, ((extension, body), ...), comes last."""
    extensions = [(EXT_GROUPS, _vector(2, _numbers(group for group, _ in _SHARES))), (EXT_POINTS, b"\1\0"),
                  (EXT_RENEGOTIATION, b"\0"), (EXT_EMS, b"")]
    if version >= TLS12:
        extensions.append((EXT_SIGNATURES, _vector(2, _numbers(_SIGNATURES))))
    if version == TLS13:
        shares = b"".join(struct.pack(">H", group) + _vector(2, share) for group, share in _SHARES)
        extensions += [(EXT_VERSIONS, _vector(1, _numbers([TLS13]))), (EXT_KEY_SHARE, _vector(2, shares))]
    block = b"".join(struct.pack(">H", kind) + _vector(2, body) for kind, body in (*extensions, *extra))
    codes = _numbers(SUITES.get(suite, suite) for suite in suites)
    body = (struct.pack(">H", min(version, TLS12)) + os.urandom(32) + _vector(1, session_id)
            + _vector(2, codes) + _vector(1, compression) + _vector(2, block))
    return struct.pack(">BH", RECORD_HANDSHAKE, TLS10) + _vector(2, b"\1" + _vector(3, body))


def ask(address, version, suites, **options):
    """Sends one ClientHello to (host, port), reads the first answer, resets the connection."""
    with socket.create_connection(address, PATIENCE) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(client_hello(version, suites, **options))
        return read_answer(connection)


def read_answer(connection):
    stream = connection.makefile("rb")
    try:
        kind, _, length = struct.unpack(">BHH", stream.read(5))
        body = stream.read(length)
    except (struct.error, ConnectionError):
        return None
    if kind == RECORD_ALERT:
        return Alert(*body)
    assert kind == RECORD_HANDSHAKE and body[0] == _SERVER_HELLO, f"record type {kind}, {body[:4]!r}"
    return _parse_server_hello(body[4:4 + int.from_bytes(body[1:4], "big")])


def _parse_server_hello(body):
    version = int.from_bytes(body[:2], "big")
    end_of_id = 35 + body[34]
    suite = int.from_bytes(body[end_of_id:end_of_id + 2], "big")
    extensions = dict(parse_extensions(body[end_of_id + 3:]))
    if EXT_VERSIONS in extensions:
        version = int.from_bytes(extensions[EXT_VERSIONS], "big")
    return ServerHello(version, NAMES.get(suite, hex(suite)), body[35:end_of_id], body[end_of_id + 2],
                       extensions)


def parse_extensions(block):
    """(extension, body) pairs of a length-prefixed block, which older servers leave out."""
    position = 2
    while position + 4 <= len(block):
        kind, length = struct.unpack_from(">HH", block, position)
        yield kind, block[position + 4:position + 4 + length]
        position += 4 + length


def parse_client_hello(record):
    """(suites by name or number in the order offered, session id, extensions) of a ClientHello record."""
    body = record[9:]
    end_of_id = 35 + body[34]
    length = int.from_bytes(body[end_of_id:end_of_id + 2], "big")
    codes = struct.unpack_from(f">{length // 2}H", body, end_of_id + 2)
    compressions = end_of_id + 2 + length
    extensions = dict(parse_extensions(body[compressions + 1 + body[compressions]:]))
    return [NAMES.get(code, code) for code in codes], body[35:end_of_id], extensions
