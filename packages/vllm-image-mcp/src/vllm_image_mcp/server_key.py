"""Keep the secret shared by all servers on one output folder, so that each can verify what another signed."""

import hashlib
import hmac
import logging
import secrets
from pathlib import Path
from typing import Final

from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.os_errors import reason_of
from vllm_image_core.text import LONGEST_PATH, one_line

_logger = logging.getLogger(__name__)

_FILE: Final = "server.key"
_BYTES: Final = 32


class ServerKey:
    """The secret of one output folder, from which a key for each purpose is derived."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """Return the key for a purpose, 32 bytes; one key says nothing about another."""
        return hmac.digest(self._secret, purpose.encode(), hashlib.sha256)


def server_key(root: Path) -> ServerKey:
    """Return the secret of an output folder; create it, readable by its owner alone, if there is none.

    If the folder cannot be used (it is read-only, or its drive is missing), the secret is this process's own.
    """
    path = root / FOLDER / _FILE
    try:
        return ServerKey(_read(path) or _create(path))
    except OSError as error:
        _logger.warning(
            "The file %s cannot be used: %s. Links to images stop working when this server ends.",
            one_line(str(path), limit=LONGEST_PATH),
            reason_of(error),
        )
        return ServerKey(secrets.token_bytes(_BYTES))


def _read(path: Path) -> bytes | None:
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    return secret if len(secret) == _BYTES else None


def _create(path: Path) -> bytes:
    """Create the file completely or not at all; if another process is faster, its secret counts."""
    secret = secrets.token_bytes(_BYTES)
    with Folder.open(path.parent) as folder, folder.temporary(secret, mode=0o600) as draft:
        if folder.place(draft, _FILE):
            return secret
        if (theirs := _read(path)) is not None:
            return theirs
        folder.replace(draft, _FILE)  # a file that was cut off
    return secret
