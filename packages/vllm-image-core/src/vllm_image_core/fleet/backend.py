"""What the studio needs of a server; the client, and any double with these methods, will do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union, runtime_checkable

from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

if TYPE_CHECKING:
    from vllm_omni_client.edits import ImageEditRequest
    from vllm_omni_client.generation_budget import GenerationBudget

__all__ = ["Backend", "BudgetedBackend", "ImageBackend", "ServerRequest"]

ServerRequest: TypeAlias = Union[ImageGenerationRequest, "ImageEditRequest"]
"""What a server makes a picture from."""


class ImageBackend(Protocol):
    """The part of a backend that makes pictures; its methods raise ``OmniError``."""

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Make the pictures of one request."""
        ...

    async def edit_image(
        self,
        request: "ImageEditRequest",
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
    ) -> ImageGenerationReply:
        """Change pictures, each given as the content of its file."""
        ...


class Backend(ImageBackend, Protocol):
    """A vLLM-Omni server, as far as the studio talks to it; its methods raise ``OmniError``."""

    @property
    def base_url(self) -> str:
        """Where the server is, without credentials."""
        ...

    async def get_models(self) -> ModelList:
        """The served models' names."""
        ...

    async def health_check(self) -> bool:
        """Whether the engine is alive."""
        ...

    async def get_version(self) -> str:
        """VLLM's version."""
        ...

    async def get_metrics(self) -> ServerMetrics:
        """The server's own counters."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@runtime_checkable
class BudgetedBackend(Protocol):
    """A backend that repeats requests itself, and spends from the budget of the image that it is given."""

    def with_budget(self, budget: "GenerationBudget") -> ImageBackend:
        """Return the same backend, for one image."""
        ...
