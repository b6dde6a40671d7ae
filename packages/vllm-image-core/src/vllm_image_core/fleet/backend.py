"""Define what a studio needs from a server; the client and any test double with these methods fit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union, runtime_checkable

from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

if TYPE_CHECKING:
    from vllm_omni_client.edits import ImageEditRequest
    from vllm_omni_client.generation_budget import GenerationBudget


ServerRequest: TypeAlias = Union[ImageGenerationRequest, "ImageEditRequest"]
"""A request that a server can run."""


class ImageBackend(Protocol):
    """The part of a backend that generates images; its methods raise ``OmniError``."""

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Generate the images of one request."""
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
        """Edit images, each given as the content of its file."""
        ...


class Backend(ImageBackend, Protocol):
    """A vLLM-Omni server as the studio sees it; its methods raise ``OmniError``."""

    @property
    def base_url(self) -> str:
        """The server's base URL, without credentials."""
        ...

    async def get_models(self) -> ModelList:
        """Return the names of the served models."""
        ...

    async def health_check(self) -> bool:
        """Return whether the engine is alive."""
        ...

    async def get_version(self) -> str:
        """Return the server's version."""
        ...

    async def get_metrics(self) -> ServerMetrics:
        """Return the server's own counters."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@runtime_checkable
class DescribedBackend(Protocol):
    """A backend that knows which fields and routes the server has."""

    async def capabilities(self) -> Capabilities:
        """Return which fields and routes the server has; raises ``OmniError``."""
        ...


@runtime_checkable
class BudgetedBackend(Protocol):
    """A backend that retries requests itself and spends from the image's budget."""

    def with_budget(self, budget: "GenerationBudget") -> ImageBackend:
        """Return this backend with the budget of one image."""
        ...
