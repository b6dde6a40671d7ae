"""Compare the images of a reply with the request, and describe each difference in a sentence."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from vllm_omni_client._imaging.picture import PictureFormat, PictureSize
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.replies import ImageGenerationReply, ReplyImage

Request = ImageGenerationRequest | ImageEditRequest


def differences(request: Request, reply: ImageGenerationReply) -> tuple[str, ...]:
    """Describe how the images of a reply differ from the request; no difference is an error."""
    images = reply.data
    return (
        *reply.omitted_images,
        *_of_number(request, len(images) + len(reply.omitted_images)),
        *(
            text
            for number, image in enumerate(images)
            for text in difference(request, image, f"Image {number}")
        ),
        *_repeats(images),
    )


class ImageFacts(Protocol):
    """The properties of an image that are compared."""

    @property
    def format(self) -> PictureFormat | None:
        """The format of its bytes."""
        ...

    @property
    def size(self) -> PictureSize | None:
        """The size in its header."""
        ...

    @property
    def flat_colour(self) -> str | None:
        """The colour of an image that has only one."""
        ...


def difference(request: Request, image: ImageFacts, name: str = "The image") -> Iterator[str]:
    """Describe how one image differs from the request."""
    if request.size not in {None, "auto", str(image.size)}:
        yield f"{name} is {image.size}, not {request.size}."
    if image.format != (request.output_format or "png"):
        yield f"{name} is {str(image.format).upper()}, not {(request.output_format or 'png').upper()}."
    if colour := image.flat_colour:
        yield f"{name} has only one colour, {colour}; the generation may have failed."


def _of_number(request: Request, number: int) -> Iterator[str]:
    if number < request.n:
        missing = ", ".join(map(str, range(number, request.n)))
        yield f"{number} of {request.n} images arrived; missing: {missing}."
    if number > request.n and not request.layers:
        yield f"{number} images arrived instead of {request.n}."


def _repeats(images: Sequence[ReplyImage]) -> Iterator[str]:
    first: dict[bytes, int] = {}
    for number, image in enumerate(images):
        same = first.setdefault(image.bytes, number)
        if same != number:
            yield f"Images {same} and {number} are identical, byte for byte."
