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
        CannotSave,
        ImageError,
        IndexUnavailable,
        InvalidRequest,
        NotEnoughSpace,
        NotRecalled,
        PictureNotSaved,
        UnknownBatch,
    )
    from vllm_image_core.generated import GeneratedImage
    from vllm_image_core.gpu import Gpu
    from vllm_image_core.metadata import Metadata
    from vllm_image_core.picture import Picture
    from vllm_image_core.preset import Quality
    from vllm_image_core.preview import Axis, PreviewFormat
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
    "Axis",
    "BadPicture",
    "BadProfile",
    "CannotSave",
    "GeneratedImage",
    "Gpu",
    "ImageError",
    "ImageRequest",
    "IndexUnavailable",
    "InvalidRequest",
    "Metadata",
    "NotEnoughSpace",
    "NotRecalled",
    "Picture",
    "PictureNotSaved",
    "PreviewFormat",
    "Profile",
    "Quality",
    "Query",
    "Recalled",
    "Receipt",
    "Record",
    "Registry",
    "ResolvedRequest",
    "Studio",
    "UnknownBatch",
    "recall",
    "resolve",
]

_HOMES: Final = {
    "Axis": "preview",
    "BadPicture": "errors",
    "BadProfile": "errors",
    "CannotSave": "errors",
    "GeneratedImage": "generated",
    "Gpu": "gpu",
    "ImageError": "errors",
    "ImageRequest": "request",
    "IndexUnavailable": "errors",
    "InvalidRequest": "errors",
    "Metadata": "metadata",
    "NotEnoughSpace": "errors",
    "NotRecalled": "errors",
    "Picture": "picture",
    "PictureNotSaved": "errors",
    "PreviewFormat": "preview",
    "Profile": "profile",
    "Quality": "preset",
    "Query": "query",
    "Recalled": "recalled",
    "Receipt": "receipt",
    "Record": "record",
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
