"""A job: one checked request, and what else decides how its picture is made."""

from dataclasses import dataclass, field

from vllm_omni_client.generation_budget import GenerationBudget

from vllm_image_core.batch.holding import Hold
from vllm_image_core.request import ImageRequest

__all__ = ["Job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked request, and what else decides how it is made.

    Attributes:
        request: Its seed is drawn.
        reuse: Whether a picture that is there already will do.
        batch: The id of the batch that it belongs to.
        position: Its place there, from 0.
        hold: What is waited for where the folder does not take the picture, before that is tried again; None
            where nobody waits: the picture then goes to the spill folder.
        budget: What it may still cost, and what was tried for it.
    """

    request: ImageRequest
    reuse: bool = False
    batch: str | None = None
    position: int | None = None
    hold: Hold | None = None
    budget: GenerationBudget = field(default_factory=GenerationBudget)
