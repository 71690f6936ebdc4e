"""Lines of the access log read back under the load balancer's own rules (spec: nlb-facts 6): parse() takes
nothing that the rules do not allow, and returns the fields by name, None for what is not there."""

import datetime
import json
import pathlib
import re
import struct
import urllib.parse

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
_PORT = r"(?:\d+(?:\.\d+){3}|\[[0-9a-f:]+\]):\d+"
_NUMBER, _NOTHING, _TEXT = r"\d+", r"-", r"[A-Za-z0-9._~%-]+"
_ALPN = r"-|h2|http/1\.1|http/1\.0"
_OFFER = r'-|(?=.{3,256}$)"[A-Za-z0-9._~%/-]+"(?:,"[A-Za-z0-9._~%/-]+")*|(?=.{254,256}$)".*'
RULES = {
    "type": r"tls|tcp", "version": r"1\.0|2\.0", "time": _TIME, "elb": r"net/[^/ ]+/[0-9a-f]{16}",
    "listener": _TEXT, "client_port": _PORT, "destination_port": _PORT, "connection_time": _NUMBER,
    "tls_handshake_time": rf"{_NUMBER}|-", "received_bytes": _NUMBER, "sent_bytes": _NUMBER,
    "incoming_tls_alert": rf"{_NUMBER}|-", "chosen_cert_arn": r"[A-Za-z0-9._~%/:-]+",
    "chosen_cert_serial": _NOTHING, "tls_cipher": r"[A-Z0-9_-]+", "tls_protocol_version": r"tlsv1[0-3]|-",
    "tls_keyexchange": r"[A-Za-z0-9_-]+", "domain_name": _TEXT, "alpn_fe_protocol": _ALPN,
    "alpn_be_protocol": _ALPN, "alpn_client_preference_list": _OFFER,
    "tls_connection_creation_time": _TIME,
}
OF_VERSION_1 = list(RULES)[:18]
NUMBERS = ("connection_time", "tls_handshake_time", "received_bytes", "sent_bytes", "incoming_tls_alert")


def name_extension(name):
    """The extension server_name (RFC 6066 section 3), for hello.client_hello."""
    entry = b"\0" + struct.pack(">H", len(name)) + name
    return (0, struct.pack(">H", len(entry)) + entry)


def text_of(address):
    """A socket address as the log has it."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


class NoLine(AssertionError):
    pass


def parse(line):
    """A dict; numbers are int. NoLine says which rule is broken."""
    found = json.loads(line) if line.startswith("{") else _columns(line)
    for name, value in found.items():
        text = "-" if value is None else str(value)
        if not re.fullmatch(RULES[name], text):
            raise NoLine(f"{name} is {text!r} in {line!r}")
    _check_together(found, line)
    return found


def _columns(line):
    words = line.split(" ")
    names = OF_VERSION_1 if words[1:2] == ["1.0"] else list(RULES)
    if len(words) != len(names):
        raise NoLine(f"{len(words)} fields in {line!r}")
    found = {name: None if word == "-" else word for name, word in zip(names, words)}
    for name in NUMBERS:
        if found[name] is not None:
            found[name] = int(found[name])
    return found


def _check_together(found, line):
    negotiated = [found["tls_handshake_time"], found["tls_cipher"], found["tls_protocol_version"]]
    if len({value is None for value in negotiated}) != 1:
        raise NoLine(f"half of a handshake: {line!r}")
    if negotiated[0] is not None and negotiated[0] > found["connection_time"]:
        raise NoLine(f"the handshake outlasts the connection: {line!r}")
    if found["version"] == "1.0" and found["tls_keyexchange"] is not None:
        raise NoLine(f"version 1.0 never has a named group: {line!r}")
    if "tls_connection_creation_time" in found:
        took = moment(found["time"]) - moment(found["tls_connection_creation_time"])
        if abs(took.total_seconds() - found["connection_time"] / 1000) > 1:
            raise NoLine(f"the times do not agree: {line!r}")


def moment(text):
    return datetime.datetime.fromisoformat(text)


def server_name(found):
    """As the client sent it."""
    return None if found["domain_name"] is None else urllib.parse.unquote_to_bytes(found["domain_name"])


def whole_lines(*files):
    """All lines in the order of the files, those not yet ended left out."""
    text = "".join(pathlib.Path(file).read_text("ascii") for file in files)
    return text[:text.rfind("\n") + 1].splitlines()
