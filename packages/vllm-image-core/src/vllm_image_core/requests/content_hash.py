"""Hash everything that determines how an image looks, so that an equal request can reuse it."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NewType

from vllm_image_core.requests.image_request import Task

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vllm_image_core.requests.resolver import ResolvedRequest

ContentKey = NewType("ContentKey", str)
"""A content hash: 64 hexadecimal digits."""

_SCHEMA: Final = 1
"""Increment this when the same request starts to mean a different image."""

_OPERATIONS: Final[Mapping[Task, str]] = {"generation": "generate", "edit": "edit"}


def content_key(
    request: "ResolvedRequest", *, model: str, server_version: str | None, wire: "BaseModel | None" = None
) -> ContentKey:
    """Return the SHA-256 of a resolved request, serialized as JSON with sorted keys and no spaces.

    Two requests with the same key give the same image, as far as the server guarantees that.

    Args:
        request: Everything that is sent, including the seed.
        model: The model's name, as the server reports it.
        server_version: As the server reports it; None if it does not.
        wire: The request as it is sent, if it is built already.
    """
    facts: dict[str, object] = {
        "schema": _SCHEMA,
        "operation": _OPERATIONS[request.task],
        "model": model,
        "profile": request.model,  # the model that the server says is behind the name
        "server_version": server_version,
        "request": request.sent_values(wire),
    }
    if inputs := [[role, one.sha256] for role, one in request.inputs_by_role]:  # whatever their names
        facts["inputs"] = inputs
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return ContentKey(hashlib.sha256(canonical.encode()).hexdigest())
