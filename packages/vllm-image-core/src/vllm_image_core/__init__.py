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
    from vllm_image_core.edit import EditRequest
    from vllm_image_core.editing.input_picture import InputPicture
    from vllm_image_core.editing.resolver import ResolvedEdit
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
        PoisonRequest,
        RecordedFailure,
        UnknownBatch,
    )
    from vllm_image_core.files.query import Query
    from vllm_image_core.files.record import Record
    from vllm_image_core.generated import GeneratedImage
    from vllm_image_core.gpu import Gpu
    from vllm_image_core.parameters.preset import Quality
    from vllm_image_core.picture import Picture
    from vllm_image_core.preview import Axis, PreviewFormat
    from vllm_image_core.profile import Profile
    from vllm_image_core.provenance.metadata import Metadata
    from vllm_image_core.provenance.recalled import Recalled, recall
    from vllm_image_core.receipt import Receipt
    from vllm_image_core.registry import Registry
    from vllm_image_core.request import ImageRequest
    from vllm_image_core.resolver import ResolvedRequest, resolve
    from vllm_image_core.studio import Studio

__all__ = [
    "Axis",
    "BadPicture",
    "BadProfile",
    "BatchInUse",
    "BatchMoved",
    "CannotSave",
    "DatabaseUnavailable",
    "EditRequest",
    "GeneratedImage",
    "Gpu",
    "ImageError",
    "ImageRequest",
    "IndexUnavailable",
    "InputPicture",
    "InvalidRequest",
    "JournalUnavailable",
    "Metadata",
    "NotEnoughSpace",
    "NotRecalled",
    "Picture",
    "PictureNotSaved",
    "PoisonRequest",
    "PreviewFormat",
    "Profile",
    "Quality",
    "Query",
    "Recalled",
    "Receipt",
    "Record",
    "RecordedFailure",
    "Registry",
    "ResolvedEdit",
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
    "BatchInUse": "errors",
    "BatchMoved": "errors",
    "CannotSave": "errors",
    "DatabaseUnavailable": "errors",
    "EditRequest": "edit",
    "GeneratedImage": "generated",
    "Gpu": "gpu",
    "ImageError": "errors",
    "ImageRequest": "request",
    "IndexUnavailable": "errors",
    "InputPicture": "editing.input_picture",
    "InvalidRequest": "errors",
    "JournalUnavailable": "errors",
    "Metadata": "provenance.metadata",
    "NotEnoughSpace": "errors",
    "NotRecalled": "errors",
    "Picture": "picture",
    "PictureNotSaved": "errors",
    "PoisonRequest": "errors",
    "PreviewFormat": "preview",
    "Profile": "profile",
    "Quality": "parameters.preset",
    "Query": "files.query",
    "Recalled": "provenance.recalled",
    "Receipt": "receipt",
    "Record": "files.record",
    "RecordedFailure": "errors",
    "Registry": "registry",
    "ResolvedEdit": "editing.resolver",
    "ResolvedRequest": "resolver",
    "Studio": "studio",
    "UnknownBatch": "errors",
    "recall": "provenance.recalled",
    "resolve": "resolver",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a server that only starts needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, also those that have not been imported yet: for completion with Tab."""
    return sorted({*globals(), *__all__})
