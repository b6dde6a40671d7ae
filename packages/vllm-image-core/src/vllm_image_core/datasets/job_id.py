"""Job id: name each image by a hash of its request, so that every process gives it the same name."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final, NewType

from vllm_image_core.requests.content_hash import content_key
from vllm_image_core.requests.resolver import ResolvedRequest

JobId = NewType("JobId", bytes)
"""16 bytes: the first half of a content hash."""

ID_BYTES: Final = 16
_FOLDER: Final = "images"


def job_id(request: ResolvedRequest) -> JobId:
    """Return the id of a resolved request: the same in every process, and whatever the server's version.

    The model counts by the name of its profile, since servers may serve one model under several names. A
    server's version does not count, or an update in the middle of a run would generate everything again.
    """
    key = content_key(request, model=request.model, server_version=None)
    return JobId(bytes.fromhex(key)[:ID_BYTES])


def image_name(job: JobId, extension: str) -> str:
    """Return the name of an image in its store: one of 65,536 folders, and the id in hexadecimal digits.

    A folder has about 150 files of ten million, and 10,000 of 650 million.
    """
    name = job.hex()
    return f"{_FOLDER}/{name[:2]}/{name[2:4]}/{name}.{extension}"


def seed_of_row(values: Mapping[str, object], copy: int) -> int:
    """Return the seed of a row that has none, 0 to 4294967295: a hash of its values.

    Args:
        values: The row's parameters, as JSON values.
        copy: Which of several images of the same values it is, from 0.
    """
    facts = [sorted((name, value) for name, value in values.items() if name != "tag"), copy]
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:4], "big")
