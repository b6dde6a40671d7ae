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
        PoisonRequest,
        RecordedFailure,
        UnknownBatch,
    )
    from vllm_image_core.estimation.gpu import Gpu
    from vllm_image_core.imaging.picture import Picture
    from vllm_image_core.imaging.preview import Axis, PreviewFormat
    from vllm_image_core.models.profile import Profile
    from vllm_image_core.models.registry import Registry
    from vllm_image_core.models.settings import Quality
    from vllm_image_core.provenance.metadata import Metadata
    from vllm_image_core.provenance.recall import RecalledRequest, recall
    from vllm_image_core.requests.edit_request import EditRequest
    from vllm_image_core.requests.edit_resolver import ResolvedEdit
    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.requests.image_request import ImageRequest
    from vllm_image_core.requests.input_picture import InputPicture
    from vllm_image_core.requests.receipt import Receipt
    from vllm_image_core.requests.resolver import ResolvedRequest, resolve
    from vllm_image_core.storage.query import Query
    from vllm_image_core.storage.record import Record
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
    "RecalledRequest",
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
    "Axis": "imaging.preview",
    "BadPicture": "errors",
    "BadProfile": "errors",
    "BatchInUse": "errors",
    "BatchMoved": "errors",
    "CannotSave": "errors",
    "DatabaseUnavailable": "errors",
    "EditRequest": "requests.edit_request",
    "GeneratedImage": "requests.generated_image",
    "Gpu": "estimation.gpu",
    "ImageError": "errors",
    "ImageRequest": "requests.image_request",
    "IndexUnavailable": "errors",
    "InputPicture": "requests.input_picture",
    "InvalidRequest": "errors",
    "JournalUnavailable": "errors",
    "Metadata": "provenance.metadata",
    "NotEnoughSpace": "errors",
    "NotRecalled": "errors",
    "Picture": "imaging.picture",
    "PictureNotSaved": "errors",
    "PoisonRequest": "errors",
    "PreviewFormat": "imaging.preview",
    "Profile": "models.profile",
    "Quality": "models.settings",
    "Query": "storage.query",
    "RecalledRequest": "provenance.recall",
    "Receipt": "requests.receipt",
    "Record": "storage.record",
    "RecordedFailure": "errors",
    "Registry": "models.registry",
    "ResolvedEdit": "requests.edit_resolver",
    "ResolvedRequest": "requests.resolver",
    "Studio": "studio",
    "UnknownBatch": "errors",
    "recall": "provenance.recall",
    "resolve": "requests.resolver",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a server that only starts needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, also those that have not been imported yet: for completion with Tab."""
    return sorted({*globals(), *__all__})
