"""Targets whose health a test can change, what it tells the program about checks, and a service with them."""

import contextlib
import http.server
import socket
import threading
import unittest

import harness
from harness import Proxy, reserve_port, scaled, service, tcp_listener
from peers import RESET, TcpEnd, exchange_of, server_context

INTERVAL = scaled(1.0, 2.0)  # seconds
TIMEOUT = scaled(1.0, 2.0)
TIMES = {"interval": f"{int(INTERVAL * 1000)}ms", "timeout": f"{int(TIMEOUT * 1000)}ms"}


def http_check(**keys):
    return {"protocol": "HTTP", "path": "/healthz", **TIMES, **keys}


class HttpTarget:
    """Answers flows with its name, and /healthz with `status`; `asked` are the requests of the checks. It is
    up from its making, can go down and come back, and is down after its `with` block."""

    def __init__(self, name, certificate=None):
        self.name, self.status, self.asked, self.server = name, 200, [], None
        self.context = server_context(certificate) if certificate else None
        self.port = reserve_port()
        self.address = f"127.0.0.1:{self.port}"
        self.up()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    def next_status(self):
        return self.status

    def up(self):
        target = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                check = self.path.startswith("/healthz")
                if check:
                    target.asked.append((self.path, self.headers))
                body = target.name.encode()
                self.send_response(target.next_status() if check else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        if self.context:
            self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None


class RawTarget:
    """act(connection) for each connection, in a thread; `accepted` counts them."""

    def __init__(self, act):
        self.act, self.accepted = act, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        connection.settimeout(harness.PATIENCE)
        with connection, contextlib.suppress(OSError):
            self.act(connection)


def endless_headers(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Again: " + bytes(1000).replace(b"\0", b"x") + b"\r\n")


def endless_line(connection):
    while True:
        connection.sendall(b"HTTP/1.1 200 " + 64 * b"very ")


def drop_by_drop(connection):
    for byte in b"HTTP/1.1 200 OK\r\n" + 10_000 * b"a":
        connection.sendall(bytes([byte]))
        if connection.recv(1) == b"":
            return


def silent(connection):
    while connection.recv(4096):
        pass


def garbage(connection):
    connection.sendall(bytes(range(256)) * 40)
    silent(connection)


def hang_up(_connection):
    pass


def hang_up_hard(connection):
    TcpEnd(connection).reset()


def interim_for_ever(connection):
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def ask(port):
    """The name of the target that answers a flow; None when it is reset."""
    _, data, end = exchange_of(port, b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n")
    return None if end == RESET else data.rpartition(b"\n")[2].decode()


def answers(port, count):
    """The names of the targets that `count` flows met."""
    return [ask(port) for _ in range(count)]


class Health(unittest.TestCase):
    def start(self, *groups, forward="app", **top):
        self.port = reserve_port()
        config = service([tcp_listener(self.port, forward=forward)], groups, **top)
        self.proxy = self.enterContext(Proxy(config))
        return self.proxy

    def target(self, *arguments, kind=HttpTarget):
        return self.enterContext(kind(*arguments))

    def wait_state(self, target, state, count=1, **fields):
        return self.proxy.wait_events("target_health", count, target=target.address, state=state,
                                      **fields)[-1]

    def shares(self, count=40):
        """{name: how many of that many flows it took}"""
        names = answers(self.port, count)
        return {name: names.count(name) for name in set(names)}
