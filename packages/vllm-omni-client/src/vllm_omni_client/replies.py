"""Replies: what comes back from a server, as values.

Source of fields: `vllm_omni/entrypoints/openai/protocol/images.py` of vLLM-Omni 0.30.0.
"""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from vllm_omni_client._imaging.base64_text import decode
from vllm_omni_client._imaging.picture import (
    DamagedPicture,
    PictureFormat,
    PictureSize,
    flat_colour_of,
    format_of,
    size_of,
)
from vllm_omni_client._imaging.pillow import open_image
from vllm_omni_client._imaging.saving import write_whole
from vllm_omni_client.receipt import CallReport

if TYPE_CHECKING:
    from PIL import Image

_Bytes = bytes  # the name is taken where a picture has a field `bytes`
DATA_URL: Final = re.compile(r"data:[\w.+-]{1,64}/[\w.+-]{1,64};base64,", re.ASCII | re.IGNORECASE)


def _strictly_decoded(value: object) -> object:
    """Decode base64 strictly, but for line ends: junk is an error, and not skipped as by default."""
    if not isinstance(value, str):
        return value
    prefix = DATA_URL.match(value)
    text = value[prefix.end() :] if prefix else value
    return decode(text.replace("\r", "").replace("\n", ""))  # MIME breaks it into lines


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


PictureBytes = Annotated[
    bytes,
    Field(min_length=1),
    BeforeValidator(_strictly_decoded),
    PlainSerializer(_encode, when_used="json"),
]


def _or_none(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Take what stands beside a paid picture for absent when it cannot be read."""
    try:
        return handler(value)
    except ValidationError:
        return None


_Lenient = WrapValidator(_or_none)


class _Reply(BaseModel):
    """What all replies share: frozen, unknown keys ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class ReplyImage(_Reply):
    """One picture of a reply. A notebook shows it.

    Attributes:
        bytes: The picture's file, base64 already decoded. Its format is whatever the server chose.
        revised_prompt: Always None in 0.30.0.
    """

    bytes: PictureBytes = Field(validation_alias="b64_json", repr=False)
    revised_prompt: Annotated[str | None, _Lenient] = None

    @property
    def format(self) -> PictureFormat | None:
        """What the bytes are, whatever was asked for; None for no PNG, JPEG or WebP."""
        return format_of(self.bytes)

    @property
    def size(self) -> PictureSize | None:
        """Width and height in pixels, from the picture's header; None when it does not tell."""
        try:
            return size_of(self.bytes)
        except DamagedPicture:
            return None

    @property
    def flat_colour(self) -> str | None:
        """The colour, as "#rrggbb", of a PNG that is one colour all over; None for all other pictures."""
        try:
            return flat_colour_of(self.bytes)
        except DamagedPicture:
            return None

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the picture's bytes as they are to a file, whole or not at all; returns its path.

        Raises:
            FileExistsError: There is a file already, and `overwrite` is False.
            OSError: The file cannot be written.
        """
        return write_whole(self.bytes, Path(path), overwrite=overwrite)

    def pil(self) -> "Image.Image":
        """Return the picture as a Pillow image, its pixels unpacked.

        Raises:
            ImportError: Pillow is not installed.
        """
        return open_image(self.bytes)

    def _repr_png_(self) -> _Bytes | None:
        return self.bytes if self.format == "png" else None

    def _repr_jpeg_(self) -> _Bytes | None:
        return self.bytes if self.format == "jpeg" else None


class GenerationMetrics(_Reply):
    """What the server measured; 0.26 and later.

    Attributes:
        stage_durations: As sent: keys that end in `_ms` in milliseconds, all others in seconds.
        peak_memory_mb: Peak of the memory that torch had reserved in this request's forward pass, in MiB.
    """

    stage_durations: dict[str, FiniteFloat] = Field(default_factory=dict)
    peak_memory_mb: Annotated[FiniteFloat | None, _Lenient] = None

    @property
    def generation_seconds(self) -> float | None:
        """How long the first stage took, its time in the queue included; None when not told."""
        milliseconds = self.stage_durations.get("stage_0_gen_ms")
        return None if milliseconds is None else milliseconds / 1000

    @property
    def stage_seconds(self) -> dict[str, float]:
        """All of `stage_durations` in seconds, their names without `_ms`."""
        return {
            name.removesuffix("_ms"): value / 1000 if name.endswith("_ms") else value
            for name, value in self.stage_durations.items()
        }

    @property
    def peak_memory_mib(self) -> float | None:
        """`peak_memory_mb` under the name of its unit."""
        return self.peak_memory_mb


class ImageGenerationReply(_Reply):
    """The reply to a generation or an edit; at least one picture.

    Two replies are equal when the server said the same; how they came about is not compared.

    Attributes:
        created: Unix time in seconds; None when the server does not tell it.
        data: The pictures. Their number may differ from `n` for some pipelines.
        output_format: The format as the server tells it; 0.20 and later.
        size: "WIDTHxHEIGHT"; since 0.30 the real size, before an echo of the request.
        metrics: What the server measured; None when it tells nothing, or nothing that can be read.
    """

    created: Annotated[int | None, _Lenient] = None
    data: Annotated[tuple[ReplyImage, ...], FailFast()] = Field(min_length=1)
    output_format: Annotated[str | None, _Lenient] = None
    size: Annotated[str | None, _Lenient] = None
    metrics: Annotated[GenerationMetrics | None, _Lenient] = None
    _receipt: CallReport | None = PrivateAttr(default=None)
    _left_out: tuple[str, ...] = PrivateAttr(default=())

    @property
    def receipt(self) -> CallReport | None:
        """What was asked for and what it took; None for a reply that no client has brought."""
        return self._receipt

    @property
    def seed(self) -> int | None:
        """The seed that was sent: the caller's, or the one that the client drew; None without a receipt."""
        return self._receipt.seed if self._receipt else None

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Fields that were asked for and that this server would have ignored in silence."""
        return self._receipt.ignored_fields if self._receipt else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not as it was asked for, a sentence each."""
        return self._receipt.warnings if self._receipt else ()

    @property
    def omitted_images(self) -> tuple[str, ...]:
        """What was wrong with pictures that came damaged beside whole ones, and were left out."""
        return self._left_out

    def without(self, damage: Mapping[int, Exception]) -> Self:
        """Return the same reply without some of its pictures, by their numbers from 0 on."""
        whole = tuple(image for number, image in enumerate(self.data) if number not in damage)
        copy = self.model_copy(update={"data": whole})
        copy._left_out = tuple(  # noqa: SLF001  # of its own class
            f"Picture {number} came damaged, and was left out: {why}." for number, why in damage.items()
        )
        return copy

    def with_receipt(self, receipt: CallReport) -> Self:
        """Return the same reply with how it came about written on it."""
        copy = self.model_copy()
        copy._receipt = receipt  # noqa: SLF001  # of its own class
        return copy

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash((self.created, self.data, self.size))


class ModelCard(_Reply):
    """One served name.

    Attributes:
        id: The served name.
        root: A Hugging Face id or a path on the server: what the name stands for.
        owned_by: "vllm".
        max_model_len: In tokens; None for a server that only draws.
    """

    id: str = Field(min_length=1, max_length=1000)
    root: str | None = Field(default=None, max_length=1000)
    owned_by: str = ""
    max_model_len: int | None = None


class ModelList(_Reply):
    """The reply to `GET /v1/models`; every card is the same model under another name.

    Attributes:
        data: The cards; the first name is the only one that generations take.
    """

    data: tuple[ModelCard, ...]
