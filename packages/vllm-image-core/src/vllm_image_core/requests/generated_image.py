"""A picture that was made: its bytes, its file, and what it was made from."""

from dataclasses import dataclass
from pathlib import Path

from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests.receipt import Receipt
from vllm_image_core.requests.resolver import ResolvedRequest

__all__ = ["GeneratedImage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImage:
    """One picture, saved. A notebook shows it by itself."""

    picture: Picture
    path: Path
    """Absolute."""
    request: ResolvedRequest
    """What was sent."""
    model: str
    """The server's name for the model."""
    receipt: Receipt
    """For each parameter: asked for, sent, confirmed by the picture, and why changed; prints as a table."""
    seconds: float
    """From sending to the whole reply: queue, transfer and retries included; of a reused one, to find it."""
    layers: tuple[Path, ...] = ()
    """The further layers of a picture that was taken apart, this one being the first; else empty."""
    server: str | None = None
    """The base URL of the server that made it, without credentials; None for one that was there already."""
    notes: tuple[str, ...] = ()
    """What was changed on the way, or is worth knowing."""
    reused: bool = False
    """Whether it was there already; no GPU has worked for it now."""
    spilled: bool = False
    """Whether it could not be written in the output folder, and lies in the spill folder."""

    @property
    def seed(self) -> int:
        """The seed that makes the same picture again."""
        return self.request.seed

    def _repr_png_(self) -> bytes | None:
        return self.picture.bytes if self.picture.format == "png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.picture.bytes if self.picture.format == "jpeg" else None
