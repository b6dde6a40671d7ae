"""Pictures from a vLLM-Omni server, in a notebook.

::

    from vllm_image_core import Studio

    studio = Studio("http://localhost:6655")
    picture = await studio.generate("a red fox in the snow")
    picture
"""

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
