"""Describe a generated image: its bytes, its file and what it was generated from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_image_core.display.card import Card, Displayed, time_text
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests.receipt import Receipt
from vllm_image_core.text import folder_text

if TYPE_CHECKING:
    from vllm_image_core.requests.resolver import ResolvedRequest


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GeneratedImage(Displayed):
    """One saved image. A notebook displays it automatically."""

    picture: Picture
    path: Path
    """The absolute path of the file."""
    request: "ResolvedRequest"
    """The resolved request that was sent."""
    model: str
    """The server's name for the model."""
    receipt: Receipt
    """For each parameter: requested, sent, confirmed by the image, and why it changed; prints as a table."""
    seconds: float
    """From sending to the complete reply, retries included; for a reused image, the time to find it."""
    layers: tuple[Path, ...] = ()
    """The other layers, if the image was split into layers (this one is the first); otherwise empty."""
    server: str | None = None
    """Base URL of the server that generated it, without credentials; None for a reused image."""
    notes: tuple[str, ...] = ()
    """What was changed, and what else is worth knowing."""
    reused: bool = False
    """Whether it already existed, so that the GPU was not used."""
    spilled: bool = False
    """Whether it is in the spill folder because it could not be written to the output folder."""

    @property
    def seed(self) -> int:
        """The seed that reproduces this image."""
        return self.request.seed

    def _card(self) -> Card:
        from vllm_image_core.display.thumbnails import LARGE, Thumbnail  # noqa: PLC0415 - for notebooks alone

        return Card(
            title=self.path.name,
            facts={
                "size": self.picture.size,
                "seed": self.seed,
                "steps": self.request.num_inference_steps,
                "time": "reused" if self.reused else time_text(self.seconds),
                "folder": folder_text(self.path.parent),
            },
            notes=self.notes,
            images=(Thumbnail(self.picture, self.request.prompt),),
            side=LARGE,
        )
