"""Word the error for a LoRA adapter that does not exist, as the server does for each kind of path."""

import posixpath
import re
from typing import Final

from vllm_omni_client.simulator.engine.model_rules import WorkerError

# What huggingface_hub accepts as the name of a repository (utils/_validators.py).
_REPOSITORY: Final = re.compile(r"(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b", re.ASCII)
_HOME: Final = "/root"
_CONFIGURATION: Final = "adapter_config.json"
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, on Linux


def missing_adapter(path: str) -> WorkerError:
    """Build the error for an adapter that does not exist; a repository name is looked up without success."""
    if "\0" in path:
        return WorkerError("embedded null byte")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        return WorkerError(str(error))
    if path == "~" or path.startswith("~/"):
        path = _HOME + path[1:]
    elif not path.startswith("/") and set(path.split("/")) <= {"", ".", ".."}:
        path = _HOME  # the server's working folder, or one above it: it exists, so its full path is reported
    elif _is_repository(path):
        return WorkerError(
            "Cannot find an appropriate cached snapshot folder for the specified revision on the local disk "
            "and outgoing traffic has been disabled. To enable repo look-ups and downloads online, set "
            "'HF_HUB_OFFLINE=0' as environment variable."
        )
    file = posixpath.join(path, _CONFIGURATION)
    names = [len(name.encode()) for name in file.split("/")]
    if max(names) > _LONGEST_NAME or len(file.encode()) > _LONGEST_PATH:
        return WorkerError(f"[Errno 36] File name too long: {file!r}")
    return WorkerError(f"[Errno 2] No such file or directory: {file!r}")


def _is_repository(path: str) -> bool:
    named = _REPOSITORY.fullmatch(path) is not None
    return named and "--" not in path and ".." not in path and not path.endswith(".git")
