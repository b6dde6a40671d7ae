"""Define the edit request (the caller's own values, unchecked), and read its input images."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self, TypeVar

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest, Task
from vllm_image_core.requests.input_picture import InputImage, InputPicture, as_sequence, read_input

MOST_INPUTS: Final = 4
"""The most input images that any vLLM-Omni 0.30.0 model takes (`vllm_omni/diffusion/model_metadata.py`)."""

ROLES: Final = ("image", "mask", "reference_image")
"""What an input image is for."""

_Image = TypeVar("_Image")


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest(ImageRequest):
    """An image request that starts from images; the fields of `ImageRequest` mean the same here.

    If no size is given, it is that of the first image, fitted to the model. None means "not requested".

    Attributes:
        images: One image, or a list of 1 to 4; the first is the one that is changed.
        mask: White where the image may change, black where it must not; for models that support inpainting.
        mask_box: Where the image may change, instead of a mask: a box [left, top, right, bottom], or a list
            of them. If no number is above 1 they are fractions of the image's sides, otherwise pixels.
        mask_polygon: Likewise the corners of a polygon, [[x, y], ...], or a list of these.
        mask_feather: Pixels over which the edge of boxes and polygons is soft, 0 to 512.
        outpaint: An aspect ratio to extend the image to; the model fills what is added.
        upscale: How many times larger each side becomes, 1.1 to 4; the model adds detail.
        reference_image: An image to take content from, for models that support it.
        strength: How far the result may depart from the first image, 0 to 1.
        layers: How many layers to split the image into, 2 to 10; only for models that do this.
        resolution: 640 or 1024, instead of a size; only for models that split an image into layers.
    """

    task: ClassVar[Task] = "edit"

    images: InputImage | list[InputImage] | tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    mask_box: object = None
    mask_polygon: object = None
    mask_feather: float | None = None
    outpaint: str | None = None
    upscale: float | None = None
    reference_image: InputImage | None = None
    strength: float | None = None
    layers: int | None = None
    resolution: int | None = None

    @property
    def count(self) -> int:
        """How many images to change or combine."""
        return len(as_sequence(self.images))

    @property
    def inputs_by_role(self) -> tuple[tuple[str, object], ...]:
        """Each input image with its role in the edit: "image", "mask" or "reference_image"."""
        return _by_role(as_sequence(self.images), self.mask, self.reference_image)

    def with_inputs(self, inputs: Iterable[tuple[str, InputImage]]) -> Self:
        """Return the edit with these input images, by role."""
        given = tuple(inputs)
        images, masks, references = (tuple(one for name, one in given if name == role) for role in ROLES)
        return replace(
            self,
            images=images,
            mask=masks[0] if masks else None,
            reference_image=references[0] if references else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The input images of an edit, already read.

    Attributes:
        images: The images to be changed, in order.
        mask: Marks where the first image may change.
        reference_image: The image to take content from.
    """

    images: tuple[InputPicture, ...]
    mask: InputPicture | None = None
    reference_image: InputPicture | None = None

    @classmethod
    def of(cls, request: EditRequest) -> "Inputs":
        """Read the images of a request; images that have been read already are used as they are.

        Raises:
            InvalidRequest: There are no images or more than 4, or one cannot be used.
        """
        given = as_sequence(request.images)
        if not 1 <= len(given) <= MOST_INPUTS:
            raise InvalidRequest(
                f"An edit takes 1 to {MOST_INPUTS} input images, not {len(given)}.",
                parameter="images",
                value=len(given),
                allowed=f"1 to {MOST_INPUTS} images",
                next_step="Give the image that you want to change." if not given else None,
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
        """Each input image with its role in the edit: "image", "mask" or "reference_image"."""
        return _by_role(self.images, self.mask, self.reference_image)

    def facts(self) -> list[dict[str, str]]:
        """What an image file records about them: hashes, sizes and plain file names, never a folder."""
        return [
            {
                "role": role,
                "sha256": one.sha256,
                "size": str(one.picture.size),
                **({"name": one.name} if one.name else {}),
            }
            for role, one in self.by_role
        ]


def _by_role(
    images: Iterable[_Image], mask: _Image | None, reference: _Image | None
) -> tuple[tuple[str, _Image], ...]:
    extras = (("mask", mask), ("reference_image", reference))
    return (*(("image", one) for one in images), *((role, one) for role, one in extras if one is not None))
