"""Export the client's public names, importing each one on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vllm_omni_client._async_client import AsyncOmniClient
    from vllm_omni_client._client import OmniClient
    from vllm_omni_client._imaging.picture import PictureSize
    from vllm_omni_client.capabilities import Capabilities
    from vllm_omni_client.edits import ImageEditRequest
    from vllm_omni_client.errors import (
        BadReply,
        BadRequest,
        ConnectionLost,
        EngineDead,
        Exchange,
        FailedAttempt,
        InvalidParameter,
        LoraNotLoaded,
        ModelChanged,
        NotFound,
        OmniError,
        OutOfGpuMemory,
        RequestTimeout,
        ServerBusy,
        ServerError,
        ServerRefused,
        ServerUnreachable,
        Unauthorized,
        UnsupportedParameter,
    )
    from vllm_omni_client.metrics import ServerMetrics
    from vllm_omni_client.models import (
        GenerationMetrics,
        ImageGenerationReply,
        ImageGenerationRequest,
        Lora,
        ModelCard,
        ModelList,
        ReplyImage,
    )
    from vllm_omni_client.receipt import CallReport
    from vllm_omni_client.saved import SavedImage

    __version__: str

__all__ = [
    "AsyncOmniClient",
    "BadReply",
    "BadRequest",
    "CallReport",
    "Capabilities",
    "ConnectionLost",
    "EngineDead",
    "Exchange",
    "FailedAttempt",
    "GenerationMetrics",
    "ImageEditRequest",
    "ImageGenerationReply",
    "ImageGenerationRequest",
    "InvalidParameter",
    "Lora",
    "LoraNotLoaded",
    "ModelCard",
    "ModelChanged",
    "ModelList",
    "NotFound",
    "OmniClient",
    "OmniError",
    "OutOfGpuMemory",
    "PictureSize",
    "ReplyImage",
    "RequestTimeout",
    "SavedImage",
    "ServerBusy",
    "ServerError",
    "ServerMetrics",
    "ServerRefused",
    "ServerUnreachable",
    "Unauthorized",
    "UnsupportedParameter",
]

_HOMES: Final = {
    "AsyncOmniClient": "_async_client",
    "CallReport": "receipt",
    "Capabilities": "capabilities",
    "GenerationMetrics": "models",
    "ImageEditRequest": "edits",
    "ImageGenerationReply": "models",
    "ImageGenerationRequest": "models",
    "Lora": "models",
    "ModelCard": "models",
    "ModelList": "models",
    "OmniClient": "_client",
    "PictureSize": "_imaging.picture",
    "ReplyImage": "models",
    "SavedImage": "saved",
    "ServerMetrics": "metrics",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module, so that request and reply types do not import httpx."""
    if name == "__version__":
        return import_module("importlib.metadata").version("vllm-omni-client")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
