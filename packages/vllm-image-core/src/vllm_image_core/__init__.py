"""Pictures from a vLLM-Omni server, in a notebook.

::

    from vllm_image_core import Studio

    studio = Studio("http://localhost:6655")
    picture = await studio.generate("a red fox in the snow")
    picture
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vllm_image_core.errors import (
        BadPicture,
        BadProfile,
        BatchInUse,
        BatchMoved,
        CannotSave,
        DatabaseUnavailable,
        ImageError,
        IndexUnavailable,
        InvalidRequest,
        JournalUnavailable,
        NotEnoughSpace,
        NotRecalled,
        PictureNotSaved,
        RecordedFailure,
        UnknownBatch,
    )
    from vllm_image_core.generated import GeneratedImage
    from vllm_image_core.gpu import Gpu
    from vllm_image_core.metadata import Metadata
    from vllm_image_core.picture import Picture
    from vllm_image_core.preset import Quality
    from vllm_image_core.profile import Profile
    from vllm_image_core.query import Query
    from vllm_image_core.recalled import Recalled, recall
    from vllm_image_core.receipt import Receipt
    from vllm_image_core.record import Record
    from vllm_image_core.registry import Registry
    from vllm_image_core.request import ImageRequest
    from vllm_image_core.resolver import ResolvedRequest, resolve
    from vllm_image_core.studio import Studio

__all__ = [
    "BadPicture",
    "BadProfile",
    "BatchInUse",
    "BatchMoved",
    "CannotSave",
    "DatabaseUnavailable",
    "GeneratedImage",
    "Gpu",
    "ImageError",
    "ImageRequest",
    "IndexUnavailable",
    "InvalidRequest",
    "JournalUnavailable",
    "Metadata",
    "NotEnoughSpace",
    "NotRecalled",
    "Picture",
    "PictureNotSaved",
    "Profile",
    "Quality",
    "Query",
    "Recalled",
    "Receipt",
    "Record",
    "RecordedFailure",
    "Registry",
    "ResolvedRequest",
    "Studio",
    "UnknownBatch",
    "recall",
    "resolve",
]

_HOMES: Final = {
    "BadPicture": "errors",
    "BadProfile": "errors",
    "BatchInUse": "errors",
    "BatchMoved": "errors",
    "CannotSave": "errors",
    "DatabaseUnavailable": "errors",
    "GeneratedImage": "generated",
    "Gpu": "gpu",
    "ImageError": "errors",
    "ImageRequest": "request",
    "IndexUnavailable": "errors",
    "InvalidRequest": "errors",
    "JournalUnavailable": "errors",
    "Metadata": "metadata",
    "NotEnoughSpace": "errors",
    "NotRecalled": "errors",
    "Picture": "picture",
    "PictureNotSaved": "errors",
    "Profile": "profile",
    "Quality": "preset",
    "Query": "query",
    "Recalled": "recalled",
    "Receipt": "receipt",
    "Record": "record",
    "RecordedFailure": "errors",
    "Registry": "registry",
    "ResolvedRequest": "resolver",
    "Studio": "studio",
    "UnknownBatch": "errors",
    "recall": "recalled",
    "resolve": "resolver",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a server that only starts needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
