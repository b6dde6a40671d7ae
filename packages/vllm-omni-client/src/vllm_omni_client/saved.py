"""SavedImage: describe an image that was written straight from the network into a file."""

from dataclasses import dataclass
from pathlib import Path

from vllm_omni_client._imaging.picture import PictureFormat, PictureSize
from vllm_omni_client.receipt import CallReport
from vllm_omni_client.replies import GenerationMetrics


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SavedImage:
    """An image in a file, checked while it was written.

    Attributes:
        path: The absolute path of the file.
        format: The format of its bytes, whatever was requested and whatever the file is called.
        size: Width and height in pixels, from the image's header.
        length: The size of the file in bytes.
        metrics: What the server measured; None if it sent only the image's own bytes.
        receipt: What was requested, what was sent, and how many attempts it took.
    """

    path: Path
    format: PictureFormat
    size: PictureSize
    length: int
    metrics: GenerationMetrics | None
    receipt: CallReport

    def __repr__(self) -> str:
        facts = f"format={self.format!r}, size='{self.size}', length={self.length}, seed={self.seed}"
        return f"SavedImage(path={str(self.path)!r}, {facts})"

    @property
    def seed(self) -> int | None:
        """The seed that was sent: the caller's, or one drawn by the client."""
        return self.receipt.seed

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Fields that the caller set and this server would have silently ignored."""
        return self.receipt.ignored_fields

    @property
    def unconfirmed_fields(self) -> tuple[str, ...]:
        """Fields that were sent, without any sign that this server reads them."""
        return self.receipt.unconfirmed_fields

    @property
    def warnings(self) -> tuple[str, ...]:
        """How the result differs from the request, a sentence each."""
        return self.receipt.warnings
