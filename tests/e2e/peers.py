"""Both ends of a flow. TlsEnd and TcpEnd are one side of a connection under full control, with the same
words for either protocol: finish, truncate, reset, and how the other side ended. Target is a threaded
server for everything else; tls_client and SClient are the real clients."""

import contextlib
import socket
import ssl
import struct
import subprocess
import tempfile
import threading

from harness import PATIENCE, wait_until

CLEAN, TRUNCATED, ALERT, RESET = "clean", "truncated", "alert", "reset"
_LINGER_NONE = struct.pack("ii", 1, 0)  # close() sends RST


def client_context(version=None, ciphers=None, root=None):
    """A client that trusts `root`, or anyone; one TLS version, or all that the library has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if root:
        context.load_verify_locations(root)
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
    _restrict(context, version, ciphers)
    return context


def server_context(certificate, version=None, ciphers=None):
    """A TLS target with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["chain"], certificate["key"])
    _restrict(context, version, ciphers)
    return context


def _restrict(context, version, ciphers):
    if ciphers:
        context.set_ciphers(ciphers)
    if version:
        context.minimum_version = context.maximum_version = version


def tcp_client(port, host="127.0.0.1", timeout=PATIENCE):
    return socket.create_connection((host, port), timeout)


def tls_client(port, context=None, host="127.0.0.1", timeout=PATIENCE, session=None):
    """A connected SSLSocket: the fast client."""
    plain = tcp_client(port, host, timeout)
    try:
        return (context or client_context()).wrap_socket(plain, server_hostname="localhost", session=session,
                                                         suppress_ragged_eofs=False)
    except BaseException:
        plain.close()
        raise


def receive_exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        block = connection.recv(count - len(data))
        if not block:
            raise AssertionError(f"ended after {len(data)} of {count} bytes")
        data += block
    return bytes(data)


def receive_line(connection):
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise AssertionError(f"ended inside a line: {bytes(line)!r}")
        line += byte
    return bytes(line[:-1])


def echoed(connection, data=b"ping\n"):
    """Whether data comes back unchanged: the connection is alive end to end."""
    connection.sendall(data)
    return receive_exactly(connection, len(data)) == data


def ended_cleanly(connection):
    """Whether the other side's end, which is all that comes now, is one that says: complete. (Python's
    SSLSocket does not tell a reset from a bare FIN; TlsEnd does.)"""
    try:
        data = connection.recv(1)
    except (ssl.SSLError, ConnectionError):
        return False
    assert data == b"", f"unexpected byte {data!r}"
    return True


def reset(connection):
    """Ends a plain or TLS socket with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    connection.close()


class TcpEnd:
    """One side of a TCP connection."""

    def __init__(self, connection):
        self.socket = connection
        self.socket.settimeout(PATIENCE)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        return receive_exactly(self.socket, count)

    def rest(self):
        """(all further bytes, how the other side ended)"""
        data = bytearray()
        try:
            while block := self.socket.recv(65536):
                data += block
        except ConnectionError:
            return bytes(data), RESET
        return bytes(data), CLEAN

    def finish(self):
        self.socket.shutdown(socket.SHUT_WR)

    def say_last(self, word):
        self.send(word)
        self.finish()

    def reset(self):
        reset(self.socket)

    def close(self):
        self.socket.close()


class TlsEnd:
    """One side of a TLS connection through memory BIOs: what is sent and when stays in the caller's hand,
    reading goes on after the own close_notify, and a FIN without close_notify is told from one behind it."""

    def __init__(self, connection, context, server_side=False):
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=server_side)
        self._drive(self.tls.do_handshake)

    def send(self, data):
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:65536]):]
            self._flush()

    def receive(self, count):
        data = b""
        while len(data) < count:
            block = self._read(count - len(data))
            if not block:
                raise AssertionError(f"close_notify after {len(data)} of {count} bytes")
            data += block
        return data

    def rest(self):
        """(all further bytes, how the other side ended); close_notify without a FIN is CLEAN."""
        data = bytearray()
        try:
            while block := self._read(65536):
                data += block
        except ssl.SSLEOFError:
            return bytes(data), TRUNCATED
        except ssl.SSLError:
            return bytes(data), ALERT
        except ConnectionError:
            return bytes(data), RESET
        return bytes(data), CLEAN

    def finish(self):
        """close_notify; the TCP connection stays open in both directions."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
            self.tls.unwrap()
        self._flush()

    def say_last(self, word):
        """A word and close_notify in one segment: the other side reads both at once."""
        self.tls.write(word)
        self.finish()

    def sealed(self, data):
        """The record that data becomes, for a test to send in its own way."""
        self.tls.write(data)
        return self._out.read()

    def truncate(self):
        """FIN without close_notify."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        reset(self.socket)

    def close(self):
        self.socket.close()

    def _read(self, count):
        try:
            return self._drive(lambda: self.tls.read(count))
        except ssl.SSLZeroReturnError:  # what Python makes of close_notify once it has sent its own
            return b""

    def _drive(self, step):
        while True:
            try:
                value = step()
            except ssl.SSLWantReadError:
                self._flush()
                if block := self.socket.recv(65536):
                    self._in.write(block)
                else:
                    self._in.write_eof()
                continue
            self._flush()
            return value

    def _flush(self):
        if self._out.pending:
            self.socket.sendall(self._out.read())


def exchange_of(port, word=b"ping\n", context=None):
    """A client that says a word, finishes and listens: (its address, all that it received, how that ended).
    The proxy may reset the connection at any step, even before connect() has returned."""
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        address = connection.getsockname()
        connection.settimeout(PATIENCE)
        try:
            connection.connect(("127.0.0.1", port))
            end = TlsEnd(connection, context) if context else TcpEnd(connection)
            end.send(word)
            end.finish()
        except TimeoutError:
            raise
        except OSError:  # ECONNRESET, EPIPE; ENOTCONN from shutdown()
            return address, b"", RESET
        return address, *end.rest()


class Target:
    """A server on a port of its own: serve(connection) runs in a thread for each connection; what it returns
    or raises is kept in `results`. It listens from its making to the end of its `with` block."""

    def __init__(self, serve, context=None, host="127.0.0.1", port=0):
        self.serve, self.context, self.results, self.accepted = serve, context, [], 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family, backlog=2048)
        port = self.listener.getsockname()[1]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._open = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self.listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait_results(self, count):
        return wait_until(lambda: f"{count} results at the target, have {self.results[-5:]}",
                          lambda: self.results if len(self.results) >= count else None)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        connection.settimeout(2 * PATIENCE)
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True,
                                                      suppress_ragged_eofs=False)
            self._open.add(connection)
            self.results.append(self.serve(connection))
            if self.context:
                with contextlib.suppress(OSError):
                    connection.unwrap()  # a TLS server says goodbye; without this it would truncate
        except (OSError, AssertionError) as error:
            self.results.append(error)
        finally:
            self._open.discard(connection)
            connection.close()


def serve_echo(connection):
    """Sends everything back; returns how much that was."""
    count = 0
    with contextlib.suppress(OSError):
        while data := connection.recv(65536):
            count += len(data)
            connection.sendall(data)
    return count


def serve_http(connection):
    """One HTTP/1.1 answer whose body repeats the request line; then it waits for the client to close, so that
    no client that is quick to close resets what it did not read. Returns the request."""
    request = b""
    while b"\r\n\r\n" not in request:
        block = connection.recv(4096)
        if not block:
            return request
        request += block
    body = request.partition(b"\r\n")[0]
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert connection.recv(1) == b"", "a second request"
    return request


class SClient:
    """openssl s_client, as a batch (SClient(port, ...).finish(b"text")) or in conversation."""

    def __init__(self, port, *arguments, host="127.0.0.1"):
        self._output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", "localhost",
             *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=self._output, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self._output.close()

    def output(self):
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def send(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def wait_for(self, text):
        return wait_until(lambda: f"{text!r} from s_client:\n{self.output()}", lambda: text in self.output())

    def finish(self, text=b"", timeout=PATIENCE):
        """Sends text and end of input, waits; (exit status, output)."""
        with self, contextlib.suppress(BrokenPipeError):
            self.process.communicate(text, timeout)
            return self.process.returncode, self.output()


class Hanging:
    """A target whose accept queue is full, so that the kernel drops every further SYN."""

    def __init__(self, test):
        self.listener = test.enterContext(socket.create_server(("127.0.0.1", 0), backlog=0))
        self.address = "127.0.0.1:{}".format(self.listener.getsockname()[1])
        for _ in range(16):
            filler = test.enterContext(socket.socket())
            filler.settimeout(0.3)
            if filler.connect_ex(self.listener.getsockname()) != 0:
                return
        raise AssertionError("the accept queue does not fill up")
