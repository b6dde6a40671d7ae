"""Buckets on loopback: of moto's S3, SeaweedFS, a Google Cloud Storage of our own, and Azurite."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

NAME: Final = "foxes"
"""The name of each bucket."""

AZURITE: Final = "azurite-blob"
SEAWEEDFS: Final = "weed"
_ACCOUNT: Final = "devstoreaccount1"
_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which its documentation publishes."""
_AZURE_VERSION: Final = "2023-11-03"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that is empty at first.

    Attributes:
        address: Its address.
        options: The options with which obstore reaches it.
    """

    address: str
    options: Mapping[str, str]


@contextmanager
def s3_bucket(moto: Any) -> Generator[Bucket]:  # noqa: ANN401 - moto.server
    """A bucket of moto's S3 server, in this process."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    _send(port, "PUT", f"/{NAME}", {})
    options = {
        "aws_endpoint": f"http://{host}:{port}",
        "aws_access_key_id": "anything",
        "aws_secret_access_key": "anything",
        "aws_region": "us-east-1",
    }
    try:
        yield Bucket(f"s3://{NAME}", options)
    finally:
        server.stop()


@contextmanager
def seaweedfs_bucket(wait_for: Callable[[int], None], folder: Path) -> Generator[Bucket]:
    """A bucket of SeaweedFS, a real object store, as a process of its own."""
    program = shutil.which(SEAWEEDFS)
    assert program is not None
    services = ("master", "volume", "filer", "s3", "admin")
    names = [f"{service}.port{kind}" for service in services for kind in ("", ".grpc")]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    command = [program, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false"]
    command += [*(f"-{name}={port}" for name, port in ports.items()), "-webdav=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    keys = {"AWS_ACCESS_KEY_ID": "anything", "AWS_SECRET_ACCESS_KEY": "anything-long"}
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **keys, "S3_BUCKET": NAME},
    ) as process:
        try:
            wait_for(ports["s3.port"])
            url = f"http://127.0.0.1:{ports['s3.port']}"
            account = {name.lower(): value for name, value in keys.items()}
            boto3: Any = import_module("boto3")
            client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **account)
            client.get_waiter("bucket_exists").wait(Bucket=NAME)
            yield Bucket(f"s3://{NAME}", {"aws_endpoint": url, "aws_region": "us-east-1", **account})
        finally:
            process.terminate()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class _GoogleObjects(BaseHTTPRequestHandler):
    """Google's XML API, as far as obstore uses it for small objects.

    Written from cloud.google.com/storage/docs/xml-api: an upload whose x-goog-if-generation-match is 0 is
    refused with 412 if there is an object of that name; any other upload replaces it.
    """

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    lock: threading.Lock

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        name = unquote(self.path).removeprefix(f"/{NAME}/")
        with self.lock:
            exists = name in self.objects
            is_refused = exists and self.headers["x-goog-if-generation-match"] == "0"
            if not is_refused:
                self.objects[name] = content
        self._answer(412 if is_refused else 200, b"")

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        query = parse_qs(target.query)
        if "list-type" in query:
            self._answer(200, self._listed(query.get("prefix", [""])[0]))
            return
        content = self.objects.get(unquote(target.path).removeprefix(f"/{NAME}/"))
        self._answer(404 if content is None else 200, content or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _listed(self, prefix: str) -> bytes:
        entries = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified>"
            f'<ETag>"{len(content)}"</ETag><Size>{len(content)}</Size></Contents>'
            for name, content in sorted(self.objects.items())
            if name.startswith(prefix)
        )
        return f"<ListBucketResult>{entries}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("x-goog-generation", "1")
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def google_bucket() -> Generator[Bucket]:
    """A bucket of Google Cloud Storage, simulated in this process."""
    handler: Any = type("Objects", (_GoogleObjects,), {"objects": {}, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    account = {
        "gcs_base_url": f"http://127.0.0.1:{server.server_port}",
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    try:
        yield Bucket(f"gs://{NAME}", {"google_service_account_key": json.dumps(account)})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def azure_bucket(wait_for: Callable[[int], None], folder: Path) -> Generator[Bucket]:
    """A container of Azurite, Microsoft's emulator, as a process of its own."""
    program = shutil.which(AZURITE)
    assert program is not None
    [port] = _free_ports(1)
    command = [program, "--blobHost=127.0.0.1", f"--blobPort={port}", f"--location={folder}", "--silent"]
    with subprocess.Popen([*command, "--disableTelemetry"], stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(port)
            _create_container(port)
            options = {
                "azure_storage_account_name": _ACCOUNT,
                "azure_storage_account_key": _KEY,
                "azure_endpoint": f"http://127.0.0.1:{port}/{_ACCOUNT}",
            }
            yield Bucket(f"az://{NAME}", options)
        finally:
            process.terminate()


def _create_container(port: int) -> None:
    """Create the container with a request that is signed as learn.microsoft.com describes for shared keys."""
    date = formatdate(usegmt=True)
    headers = {"x-ms-date": date, "x-ms-version": _AZURE_VERSION}
    lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
    signed = "\n".join([*lines, f"/{_ACCOUNT}/{_ACCOUNT}/{NAME}", "restype:container"])
    signature = hmac.new(base64.b64decode(_KEY), signed.encode(), hashlib.sha256).digest()
    authorization = f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"
    _send(port, "PUT", f"/{_ACCOUNT}/{NAME}?restype=container", {**headers, "Authorization": authorization})


def _send(port: int, method: str, path: str, headers: Mapping[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={**headers, "Content-Length": "0"})
    reply = connection.getresponse()
    assert reply.status in {200, 201}, reply.read()
    connection.close()
