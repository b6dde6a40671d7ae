"""An edit request: the pictures that are to be changed, and what a caller asks of them, unchecked."""

from dataclasses import dataclass, replace
from typing import Final, Self

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.input_picture import InputImage, InputPicture, as_sequence, read_input

__all__ = ["MOST_INPUTS", "EditRequest", "Inputs"]

MOST_INPUTS: Final = 4
"""The most pictures that any model of vLLM-Omni 0.30.0 edits (`vllm_omni/diffusion/model_metadata.py`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest(ImageRequest):
    """An image request that starts from pictures; what it has of `ImageRequest` means the same here.

    Left out, the size is that of the first picture, fitted to the model. None means "not asked for".

    Attributes:
        images: 1 to 4 pictures, or one alone; the first is the one that is changed.
        mask: White where the picture may change, black where it stays; for models that paint in.
        reference_image: A picture to take over from, for models that do.
        strength: 0 to 1: how far the result may go from the first picture.
        layers: 2 to 10; only for models that take a picture apart.
        resolution: 640 or 1024, in place of a size; only for these models, too.
    """

    images: InputImage | list[InputImage] | tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    reference_image: InputImage | None = None
    strength: float | None = None
    layers: int | None = None
    resolution: int | None = None

    @property
    def count(self) -> int:
        """How many pictures are to be changed or combined."""
        return len(as_sequence(self.images))

    def read(self) -> Self:
        """The same with its pictures read and checked; waits for the disk.

        Raises:
            InvalidRequest: There are none or more than 4, or one cannot be used.
        """
        inputs = Inputs.of(self)
        return replace(self, images=inputs.images, mask=inputs.mask, reference_image=inputs.reference_image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The pictures of an edit, read.

    Attributes:
        images: The pictures to be changed, in order.
        mask: Where the first one may change.
        reference_image: What is taken over from.
    """

    images: tuple[InputPicture, ...]
    mask: InputPicture | None = None
    reference_image: InputPicture | None = None

    @classmethod
    def of(cls, request: EditRequest) -> "Inputs":
        """The pictures of a request; those that are read already are taken as they are.

        Raises:
            InvalidRequest: There are none or more than 4, or one cannot be used.
        """
        given = as_sequence(request.images)
        if not 1 <= len(given) <= MOST_INPUTS:
            raise InvalidRequest(
                f"An edit starts from 1 to {MOST_INPUTS} pictures, and not from {len(given)}.",
                parameter="images",
                value=len(given),
                allowed=f"1 to {MOST_INPUTS} pictures",
                next_step="Give the picture that is to be changed." if not given else None,
            )
        names = ["images"] if len(given) == 1 else [f"images[{place}]" for place in range(len(given))]
        return cls(
            images=tuple(read_input(one, parameter=name) for one, name in zip(given, names, strict=True)),
            mask=None if request.mask is None else read_input(request.mask, parameter="mask"),
            reference_image=(
                None
                if request.reference_image is None
                else read_input(request.reference_image, parameter="reference_image")
            ),
        )

    @property
    def by_role(self) -> tuple[tuple[str, InputPicture], ...]:
        """Each with its part in the edit: "image", "mask" or "reference_image"."""
        extras = (("mask", self.mask), ("reference_image", self.reference_image))
        return (
            *(("image", one) for one in self.images),
            *((role, one) for role, one in extras if one is not None),
        )

    def facts(self) -> list[dict[str, str]]:
        """What is told of them in a picture's file: hashes and plain names, never a folder."""
        return [
            {
                "role": role,
                "sha256": one.sha256,
                "size": str(one.picture.size),
                **({"name": one.name} if one.name else {}),
            }
            for role, one in self.by_role
        ]
