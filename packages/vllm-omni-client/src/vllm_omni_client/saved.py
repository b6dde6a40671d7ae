"""SavedImage: a picture that went straight from the wire into a file."""

from dataclasses import dataclass
from pathlib import Path

from vllm_omni_client._imaging.picture import PictureFormat, PictureSize
from vllm_omni_client.receipt import CallReport
from vllm_omni_client.replies import GenerationMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """A picture in a file, checked while it was written.

    Attributes:
        path: The file, absolute.
        format: What its bytes are, whatever was asked for and whatever the file is called.
        size: Width and height in pixels, from the picture's header.
        length: How many bytes the file has.
        metrics: What the server measured; None when the picture's own bytes were sent, without words.
        receipt: What was asked for, what was sent, and what it took.
    """

    path: Path
    format: PictureFormat
    size: PictureSize
    length: int
    metrics: GenerationMetrics | None
    receipt: CallReport

    @property
    def seed(self) -> int | None:
        """The seed that was sent: the caller's, or the one that the client drew."""
        return self.receipt.seed

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Fields that were asked for and that this server would have ignored in silence."""
        return self.receipt.ignored_fields

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not as it was asked for, a sentence each."""
        return self.receipt.warnings
