"""Differences: what to know of a reply before it is used, a sentence each. Nothing is refused for them."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from vllm_omni_client._imaging.picture import PictureFormat, PictureSize
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.replies import ImageGenerationReply, ReplyImage

Request = ImageGenerationRequest | ImageEditRequest


def differences(request: Request, reply: ImageGenerationReply) -> tuple[str, ...]:
    """Compare the pictures of a reply with what was asked for."""
    images = reply.data
    return (
        *reply.omitted_images,
        *_of_number(request, len(images) + len(reply.omitted_images)),
        *(
            words
            for number, image in enumerate(images)
            for words in difference(request, image, f"Picture {number}")
        ),
        *_repeats(images),
    )


class Looked(Protocol):
    """A picture as far as it is looked at here."""

    @property
    def format(self) -> PictureFormat | None:
        """What its bytes are."""
        ...

    @property
    def size(self) -> PictureSize | None:
        """As its header tells it."""
        ...

    @property
    def flat_colour(self) -> str | None:
        """The colour of a picture that has no other."""
        ...


def difference(request: Request, picture: Looked, name: str = "The picture") -> Iterator[str]:
    """Compare one picture with what was asked for."""
    if request.size not in {None, "auto", str(picture.size)}:
        yield f"{name} is {picture.size}, and not {request.size}."
    if picture.format != (request.output_format or "png"):
        yield f"{name} is {str(picture.format).upper()}, and not {(request.output_format or 'png').upper()}."
    if colour := picture.flat_colour:
        yield f"{name} is one colour all over, {colour}; something may have failed."


def _of_number(request: Request, number: int) -> Iterator[str]:
    if number < request.n:
        missing = ", ".join(map(str, range(number, request.n)))
        yield f"{number} of {request.n} pictures came; missing: {missing}."
    if number > request.n and not request.layers:
        yield f"{number} pictures came, and {request.n} was asked for."


def _repeats(images: Sequence[ReplyImage]) -> Iterator[str]:
    first: dict[bytes, int] = {}
    for number, image in enumerate(images):
        same = first.setdefault(image.bytes, number)
        if same != number:
            yield f"Pictures {same} and {number} are the same, byte for byte."
