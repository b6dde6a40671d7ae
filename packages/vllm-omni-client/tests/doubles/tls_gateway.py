"""A gateway as companies run them: TLS with a certificate of their own CA, and a header that it asks for."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

HEADER = "X-Gateway-Token"
TOKEN = "canary-gateway-5d1e"
REFUSED = (
    b"HTTP/1.1 403 Forbidden\r\ncontent-type: text/html\r\ncontent-length: 16\r\n"
    b"connection: close\r\n\r\n<h1>Denied</h1>\n"
)


@dataclass(slots=True)
class Gateway:
    """A running gateway.

    Attributes:
        url: Its base URL.
        ca_file: The CA that signed its certificate, as a PEM file; no system trusts it.
        heads: The head of each request that it passed on.
    """

    url: str
    ca_file: Path
    heads: list[bytes] = field(default_factory=list[bytes])


@contextlib.contextmanager
def tls_gateway(
    upstream: str, folder: Path, *, header: str = HEADER, token: str = TOKEN
) -> Generator[Gateway]:
    """Pass requests with the header on to a server on loopback, one for each connection."""
    authority = trustme.CA()
    ca_file = folder / "internal-ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert("localhost")
    with certificate.private_key_and_cert_chain_pem.tempfile() as chain:
        context.load_cert_chain(chain)
    host, _, port = upstream.removeprefix("http://").partition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    gateway = Gateway(url=f"https://localhost:{listener.getsockname()[1]}", ca_file=ca_file)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            head, body = _request_of(secure)
            if not re.search(rf"^{header}: {token}\r$".encode(), head, re.IGNORECASE | re.MULTILINE):
                secure.sendall(REFUSED)
                return
            gateway.heads.append(head)
            with socket.create_connection((host, int(port))) as server:
                server.sendall(head.removesuffix(b"\r\n") + b"connection: close\r\n\r\n" + body)
                while chunk := server.recv(65_536):
                    secure.sendall(chunk)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield gateway
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _request_of(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of a request with its empty line, without what it says of the connection, and its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    while len(body) < (int(length[1]) if length else 0):
        body += _more(connection)
    return re.sub(rb"\r\nconnection: [^\r]*", b"", head, flags=re.IGNORECASE) + end, body


def _more(connection: socket.socket) -> bytes:
    chunk = connection.recv(65_536)
    if not chunk:
        raise ConnectionResetError
    return chunk
