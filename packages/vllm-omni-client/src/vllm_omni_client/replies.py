"""Define the reply types: images, metrics and model lists, validated and immutable.

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
    InspectedImage,
    PictureFormat,
    PictureSize,
    flat_colour_of,
    format_of,
    size_of,
)
from vllm_omni_client._imaging.pillow import open_image
from vllm_omni_client._imaging.saving import write_file
from vllm_omni_client.receipt import CallReport

if TYPE_CHECKING:
    from PIL import Image

_Bytes = bytes  # the class ReplyImage has a field named `bytes`
DATA_URL: Final = re.compile(r"data:[\w.+-]{1,64}/[\w.+-]{1,64};base64,", re.ASCII | re.IGNORECASE)


def _strictly_decoded(value: object) -> object:
    """Decode base64 strictly, except for line ends: junk is an error, not skipped as by default."""
    if not isinstance(value, str):
        return value
    prefix = DATA_URL.match(value)
    text = value[prefix.end() :] if prefix else value
    return decode(text.replace("\r", "").replace("\n", ""))  # MIME wraps base64 into lines


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


PictureBytes = Annotated[
    bytes,
    Field(min_length=1),
    BeforeValidator(_strictly_decoded),
    PlainSerializer(_encode, when_used="json"),
]


def _or_none(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Treat an unreadable optional value as absent, so that it does not cost the caller a paid image."""
    try:
        return handler(value)
    except ValidationError:
        return None


_Lenient = WrapValidator(_or_none)


class _Reply(BaseModel):
    """Base of all reply types: frozen, with unknown keys ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class ReplyImage(_Reply):
    """One image of a reply. Notebooks display it.

    Two images are equal if the server sent the same.

    Attributes:
        bytes: The encoded image, already decoded from base64, in the format that the server chose.
        revised_prompt: Always None in 0.30.0.
    """

    bytes: PictureBytes = Field(validation_alias="b64_json", repr=False)
    revised_prompt: Annotated[str | None, _Lenient] = None
    _inspection: InspectedImage | None = PrivateAttr(default=None)

    @property
    def inspection(self) -> InspectedImage | None:
        """What was found when a client checked the image as it arrived; None if none did."""
        return self._inspection

    def with_inspection(self, inspection: InspectedImage) -> Self:
        """Return the same image with the result of its inspection."""
        copy = self.model_copy()
        copy._inspection = inspection  # noqa: SLF001  # of its own class
        return copy

    @property
    def format(self) -> PictureFormat | None:
        """The format of the bytes, whatever was requested; None if they are not PNG, JPEG or WebP."""
        return format_of(self.bytes)

    @property
    def size(self) -> PictureSize | None:
        """Width and height in pixels, from the image's header; None if it cannot be read."""
        try:
            return size_of(self.bytes)
        except DamagedPicture:
            return None

    @property
    def flat_colour(self) -> str | None:
        """The colour ("#rrggbb") of a PNG that has only one colour; None for every other image."""
        if self._inspection is not None and self._inspection.format == "png":
            return self._inspection.flat_colour
        try:
            return flat_colour_of(self.bytes)
        except DamagedPicture:
            return None

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash((self.bytes, self.revised_prompt))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the image's bytes unchanged to a file, completely or not at all; return its path.

        Raises:
            FileExistsError: The file exists, and `overwrite` is False.
            OSError: The file cannot be written.
        """
        return write_file(self.bytes, Path(path), overwrite=overwrite)

    def pil(self) -> "Image.Image":
        """Return the image as a decoded Pillow image.

        Raises:
            ImportError: Pillow is not installed.
        """
        return open_image(self.bytes)

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        return [("format", self.format), ("size", str(self.size)), ("length", len(self.bytes))]

    def _repr_png_(self) -> _Bytes | None:
        return self.bytes if self.format == "png" else None

    def _repr_jpeg_(self) -> _Bytes | None:
        return self.bytes if self.format == "jpeg" else None


class GenerationMetrics(_Reply):
    """What the server measured; requires 0.26 or later.

    Attributes:
        stage_durations: As sent: keys that end in `_ms` are in milliseconds, all others in seconds.
        peak_memory_mb: Peak memory reserved by torch in this request's forward pass, in MiB.
    """

    stage_durations: dict[str, FiniteFloat] = Field(default_factory=dict)
    peak_memory_mb: Annotated[FiniteFloat | None, _Lenient] = None

    @property
    def generation_seconds(self) -> float | None:
        """Seconds that the first stage took, including its time in the queue; None if not reported."""
        milliseconds = self.stage_durations.get("stage_0_gen_ms")
        return None if milliseconds is None else milliseconds / 1000

    @property
    def stage_seconds(self) -> dict[str, float]:
        """All of `stage_durations` in seconds, with `_ms` removed from the names."""
        return {
            name.removesuffix("_ms"): value / 1000 if name.endswith("_ms") else value
            for name, value in self.stage_durations.items()
        }

    @property
    def peak_memory_mib(self) -> float | None:
        """Same as `peak_memory_mb`, named after its actual unit."""
        return self.peak_memory_mb


class ImageGenerationReply(_Reply):
    """The reply to a generation or an edit; it has at least one image.

    Two replies are equal if the server sent the same; how they came about is not compared.

    Attributes:
        created: Unix time in seconds; None if the server does not report it.
        data: The images. For some pipelines, their number differs from `n`.
        output_format: The format as the server reports it; 0.20 and later.
        size: "WIDTHxHEIGHT"; the real size since 0.30, an echo of the request before.
        metrics: What the server measured; None if it reports nothing readable.
    """

    created: Annotated[int | None, _Lenient] = None
    data: Annotated[tuple[ReplyImage, ...], FailFast()] = Field(min_length=1)
    output_format: Annotated[str | None, _Lenient] = None
    size: Annotated[str | None, _Lenient] = None
    metrics: Annotated[GenerationMetrics | None, _Lenient] = None
    _receipt: CallReport | None = PrivateAttr(default=None)
    _omitted: tuple[str, ...] = PrivateAttr(default=())

    @property
    def receipt(self) -> CallReport | None:
        """What was requested and how many attempts it took; None if the reply did not come from a client."""
        return self._receipt

    @property
    def seed(self) -> int | None:
        """The seed that was sent: the caller's, or one drawn by the client; None without a receipt."""
        return self._receipt.seed if self._receipt else None

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Fields that the caller set and this server would have silently ignored."""
        return self._receipt.ignored_fields if self._receipt else ()

    @property
    def unconfirmed_fields(self) -> tuple[str, ...]:
        """Fields that were sent, without any sign that this server reads them."""
        return self._receipt.unconfirmed_fields if self._receipt else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """How the result differs from the request, a sentence each."""
        return self._receipt.warnings if self._receipt else ()

    @property
    def omitted_images(self) -> tuple[str, ...]:
        """Why images were omitted: they arrived damaged, next to complete ones. A sentence each."""
        return self._omitted

    def without(self, damage: Mapping[int, Exception]) -> Self:
        """Return the same reply without its damaged images, whose numbers count from 0."""
        complete = tuple(image for number, image in enumerate(self.data) if number not in damage)
        copy = self.model_copy(update={"data": complete})
        copy._omitted = tuple(  # noqa: SLF001  # of its own class
            f"Image {number} arrived damaged and was omitted: {why}." for number, why in damage.items()
        )
        return copy

    def with_receipt(self, receipt: CallReport) -> Self:
        """Return the same reply with its receipt attached."""
        copy = self.model_copy()
        copy._receipt = receipt  # noqa: SLF001  # of its own class
        return copy

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        told = [
            ("data", self.data),
            ("seed", self.seed),
            ("metrics", self.metrics),
            ("warnings", self.warnings),
        ]
        return [(name, value) for name, value in told if value not in (None, ())]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash((self.created, self.data, self.size))


class ModelCard(_Reply):
    """One served name.

    Attributes:
        id: The served name.
        root: The Hugging Face ID or the path on the server that the name stands for.
        owned_by: "vllm".
        max_model_len: In tokens; None for a server that only generates images.
    """

    id: str = Field(min_length=1, max_length=1000)
    root: str | None = Field(default=None, max_length=1000)
    owned_by: str = ""
    max_model_len: int | None = None


class ModelList(_Reply):
    """The reply to `GET /v1/models`: of a vLLM-Omni, one model under several names; of a gateway, any models.

    Attributes:
        data: The cards; a vLLM-Omni accepts only the first name.
    """

    data: tuple[ModelCard, ...]
