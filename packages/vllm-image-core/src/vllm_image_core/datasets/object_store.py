"""Object store: write complete files to a folder, S3, Google Cloud or Azure without overwriting any."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from vllm_image_core.checks import invalid_value
from vllm_image_core.errors import CannotSave, MissingPackage
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.folder_paths import check_folder_path
from vllm_image_core.storage.temporary_names import is_temporary
from vllm_image_core.text import one_line, system_reason

_PREFIXES: Final[Mapping[str, str]] = {"s3": "aws_", "gs": "google_", "az": "azure_"}
"""How the names of a store's options begin, by its scheme."""

_CONNECTION_OPTIONS: Final = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_max_frame_size",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "timeout",
        "user_agent",
    }
)
"""Options of the connection, which obstore takes apart from those of the bucket; it panics otherwise."""

_ALLOWED: Final = (
    "a folder, or an address such as s3://bucket/folder, gs://bucket/folder, az://container/folder"
)


class ObjectStore:
    """A folder, or a folder in a bucket, where each file is written once.

    Args:
        address: A local folder, which is created, or an address that begins with s3://, gs:// or az://.
        options: Options of the bucket as obstore names them, such as ``aws_endpoint`` and ``aws_region``;
            what is missing comes from the environment, as in the cloud's own tools.

    Attributes:
        folder: The local folder, as an absolute path; None for a bucket.
        address: The folder's absolute path, or the address without a slash at its end.

    Raises:
        InvalidRequest: The address or an option cannot be used.
        MissingPackage: obstore is not installed.
        CannotSave: The local folder cannot be created.
    """

    def __init__(self, address: str | Path, options: Mapping[str, str] | None = None) -> None:
        self._obstore = _import_obstore()
        scheme, found, _ = str(address).partition("://")
        self.folder: Path | None = None if found else Path(address).expanduser().absolute()
        self.address: str = str(self.folder or str(address).rstrip("/"))
        if self.folder is not None:
            self._store = self._open_folder(self.folder)
        elif scheme in _PREFIXES:
            self._store = self._open_bucket(scheme, options or {})
        else:
            raise invalid_value("out", self.address, "has an unknown scheme", _ALLOWED)

    def uri(self, name: str) -> str:
        """Return the address of a file: a file:// URL in a folder, otherwise the bucket's address of it."""
        return f"{self.address}/{name}" if self.folder is None else (self.folder / name).as_uri()

    def name_of(self, uri: str) -> str:
        """Return the name of a file in this store by its address; raises ValueError for any other."""
        root, found = (self.uri("_").removesuffix("_"), uri)
        if self.folder is not None:
            root, found = unquote(root), unquote(uri)
        if not found.startswith(root):
            raise ValueError(f"{uri} is not in {self.address}")
        return found.removeprefix(root)

    async def create(self, name: str, data: bytes) -> bool:
        """Write a new file; it appears complete, and is on the disk when this returns.

        Returns:
            Whether it was written; False if there is a file of this name, which stays as it is.

        Raises:
            CannotSave: The store did not take it.
        """
        return await self._put(name, data, mode="create")

    async def replace(self, name: str, data: bytes) -> None:
        """Write a file in place of another one of this name; otherwise like `create`."""
        await self._put(name, data, mode="overwrite")

    async def read(self, name: str) -> bytes | None:
        """Return a file's content; None if the file does not exist.

        Raises:
            CannotSave: The store did not answer.
        """
        try:
            found = await self._obstore.get_async(self._store, name)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except self._errors as error:
            raise self._failure("read", error) from error

    async def names(self, folder: str) -> AsyncIterator[str]:
        """Yield the names of the files in a folder and in those below it, without unfinished ones."""
        pages: Iterator[list[dict[str, Any]]] = iter(self._obstore.list(self._store, folder))
        try:
            while page := await asyncio.to_thread(next, pages, None):
                for each in page:
                    if not is_temporary(each["path"].rpartition("/")[2]):
                        yield str(each["path"])
        except self._errors as error:
            raise self._failure("list", error) from error

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return (self._obstore.exceptions.BaseError, OSError)

    async def _put(self, name: str, data: bytes, *, mode: str) -> bool:
        try:
            if self.folder is not None:
                replaces = mode == "overwrite"
                return await asyncio.to_thread(_write, self.folder / name, data, replaces=replaces)
            await self._obstore.put_async(self._store, name, data, mode=mode)
        except self._obstore.exceptions.AlreadyExistsError:
            return False
        except self._errors as error:
            raise self._failure("write to", error) from error
        return True

    def _open_folder(self, folder: Path) -> Any:  # noqa: ANN401 - obstore is optional
        check_folder_path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotSave(f"{folder} cannot be created: {system_reason(error)}.") from error
        return self._obstore.store.LocalStore(str(folder))

    def _open_bucket(self, scheme: str, options: Mapping[str, str]) -> Any:  # noqa: ANN401 - likewise
        prefix = _PREFIXES[scheme]
        wrong = [name for name in options if not name.lower().startswith(prefix)]
        allowed = f"options of obstore for {scheme}://, whose names begin with {prefix}"
        if wrong:
            raise invalid_value("store_options", wrong[0], "is not an option here", allowed)
        is_plain = any(value.startswith("http://") for value in options.values())
        connection: dict[str, str] = {"allow_http": "true"} if is_plain else {}
        bucket: dict[str, str] = {}
        for name, value in options.items():
            own = name.lower().removeprefix(prefix)
            is_connection = own in _CONNECTION_OPTIONS
            (connection if is_connection else bucket)[own if is_connection else name] = value
        try:
            return self._obstore.store.from_url(
                self.address, config=bucket, client_options=connection or None
            )
        except (self._obstore.exceptions.BaseError, ValueError) as error:
            fault = f"cannot be opened: {_first_line(error)}"
            raise invalid_value("store_options", self.address, fault, allowed) from error

    def _failure(self, what: str, error: Exception) -> CannotSave:
        return CannotSave(
            f"Cannot {what} {self.address}: {_first_line(error).rstrip('.')}.",
            next_step="Check the address, the credentials and the free space, then run it again.",
        )


def _import_obstore() -> Any:  # noqa: ANN401 - optional: not there for type checkers everywhere
    try:
        import_module("obstore.store")
        return import_module("obstore")
    except ImportError as error:
        needed = "it writes images into folders and buckets"
        raise MissingPackage("obstore", needed_for=needed, extra="stores") from error


def _write(path: Path, data: bytes, *, replaces: bool) -> bool:
    """Write a file and its entry in the folder to the disk; return False if its name is taken."""
    with Folder.open(path.parent) as folder, folder.temporary(data) as temporary:
        if replaces:
            folder.replace(temporary, path.name)
        is_new = replaces or folder.place(temporary, path.name)
        folder.sync()
    return is_new


def _first_line(error: Exception) -> str:
    """Return what happened, without the internals that obstore adds to its messages."""
    return one_line((str(error) or type(error).__name__).partition("\n")[0])
