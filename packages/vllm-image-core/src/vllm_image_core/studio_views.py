"""Show images: draw previews, contact sheets and labelled grids in a thread."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_image_core.batches.summary import FoundBatch
from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.display.thumbnails import Thumbnail
from vllm_image_core.errors import BadPicture
from vllm_image_core.files import read_image_file
from vllm_image_core.imaging import preview
from vllm_image_core.imaging.captions import Described, differing_captions
from vllm_image_core.imaging.grid_axes import Value, grid_axes, without_prompt
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import Axis, PreviewFormat
from vllm_image_core.requests.fields import SWEPT
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.record import Record

_PROMPT: Final = "prompt"

ImageSource = GeneratedImage | Record | Picture | Path | str | bytes
"""A generated or found image, a checked picture, a file's path, or its content."""


def picture_of(image_source: ImageSource) -> Picture:
    """Return the checked picture, reading its file if necessary; blocks on the disk.

    Raises:
        BadPicture: The file cannot be read, or is not a complete PNG, JPEG or WebP.
    """
    match image_source:
        case Picture():
            return image_source
        case GeneratedImage():
            return image_source.picture
        case Record():
            return Picture.check_file(read_image_file(image_source.path, _unreadable))
        case bytes():
            return Picture.check(image_source)
        case _:
            return Picture.check_file(read_image_file(Path(image_source), _unreadable))


def pictures_of(image_sources: Sequence[ImageSource | None]) -> list[Picture | None]:
    """Return the picture of each source; None for a source that is None or can no longer be read."""
    return [
        None if image_source is None else _picture_or_none(image_source) for image_source in image_sources
    ]


def _picture_or_none(image_source: ImageSource) -> Picture | None:
    try:
        return picture_of(image_source)
    except BadPicture:
        return None


def _cell(request: ImageRequest) -> Mapping[str, Value]:
    """Return the settings of an image for the labels of a grid; width and height are one, size."""
    values = {name: getattr(request, name, None) for name in (_PROMPT, *SWEPT)}
    if request.width is not None and request.height is not None:
        values = {"size": f"{request.width}x{request.height}", **values, "width": None, "height": None}
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}


def _unreadable(message: str) -> BadPicture:
    return BadPicture(message, next_step="Give the path of an image file.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGrid(Displayed):
    """The images of a batch, drawn in a grid. A notebook displays it automatically.

    Attributes:
        picture: The drawing.
        axes: Columns, rows and blocks of rows; None if the images form no grid but a numbered sheet.
        paths: The file of each image, in order; None for one that failed.
        batch_id: The batch's id.
    """

    picture: Picture
    axes: tuple[Axis, ...] | None
    paths: tuple[Path | None, ...]
    batch_id: str

    def _card(self) -> Card:
        return Card(
            title=f"{len(self.paths)} images of {self.batch_id}",
            images=(Thumbnail(self.picture, "the images of the batch in a grid"),),
            side=_GRID_SIDE,
        )


_GRID_SIDE: Final = 960
"""The longest side of a grid in a notebook, in CSS pixels."""


def _captions(image_sources: Sequence[ImageSource | None]) -> list[str] | None:
    """Return what differs between the images that are described; None if none of them is."""
    described = [_describe(image_source) for image_source in image_sources]
    known = iter(differing_captions([each for each in described if each is not None]))
    captions = ["" if each is None else next(known) for each in described]
    return captions if any(captions) else None


def _describe(image_source: ImageSource | None) -> Described | None:
    match image_source:
        case GeneratedImage(request=made) | (Record() as made):
            return Described(
                made.prompt or "",
                {
                    "seed": made.seed,
                    "steps": made.num_inference_steps,
                    "guidance": made.guidance_scale,
                    "size": str(made.size),
                    "model": made.model,
                },
            )
        case _:
            return None


class StudioViews(Displayed):
    """The studio's methods that show images, its own and others."""

    async def preview(
        self,
        picture: ImageSource,
        *,
        longest_side: int = 768,
        max_bytes: int = 98_304,
        format: PreviewFormat = "webp",  # noqa: A002 - the field's own name, and keyword-only
    ) -> Picture:
        """Shrink an image so that an assistant or a person can look at it; see ``preview.preview``.

        Args:
            picture: A generated or found image, a checked picture, a file's path, or its content.
            longest_side: Pixels, 16 to 4096; the image is never enlarged.
            max_bytes: Size limit of the file, 1024 bytes to 16 MiB.
            format: "webp", or "jpeg" for programs without WebP support.

        Raises:
            InvalidRequest: A limit is out of range, or the image cannot fit into it.
            BadPicture: The image cannot be read or decoded.
        """
        return await asyncio.to_thread(
            lambda: preview.preview(
                picture_of(picture), longest_side=longest_side, max_bytes=max_bytes, format=format
            )
        )

    async def contact_sheet(
        self,
        pictures: Sequence[ImageSource | None],
        *,
        captions: Sequence[str] | None = None,
        first_number: int = 1,
        longest_side: int = 1536,
        max_bytes: int = 393_216,
        format: PreviewFormat = "webp",  # noqa: A002 - likewise
    ) -> Picture:
        """Put many images on one sheet, numbered row by row; see ``preview.contact_sheet``.

        Args:
            pictures: 1 to 256 images, each as for ``preview``; None, or an image that cannot be read, leaves
                its numbered place empty.
            captions: One caption per image, of up to two lines; by default what differs between generated or
                found images: their seeds, settings, or prompts.
            first_number: Number of the first image, 0 to 999,999.
            longest_side: As for ``preview``.
            max_bytes: As for ``preview``.
            format: As for ``preview``.

        Raises:
            InvalidRequest: There is no image, or there are too many; or a limit is out of range, or the
                sheet cannot fit into it.
        """
        return await asyncio.to_thread(
            lambda: preview.contact_sheet(
                pictures_of(pictures),
                captions=_captions(pictures) if captions is None else captions,
                first_number=first_number,
                longest_side=longest_side,
                max_bytes=max_bytes,
                format=format,
            )
        )

    async def xy_grid(
        self,
        pictures: Sequence[ImageSource | None],
        *,
        x: Axis,
        y: Axis,
        z: Axis | None = None,
        longest_side: int = 1536,
        max_bytes: int = 393_216,
        format: PreviewFormat = "webp",  # noqa: A002 - likewise
    ) -> Picture:
        """Put images in a grid with labelled columns, rows and blocks; see ``preview.xy_grid``.

        Args:
            pictures: 1 to 256 images row by row, one per combination of values, each as for
                ``contact_sheet``.
            x: Name and values of the columns.
            y: Name and values of the rows.
            z: Name and values of the blocks, each with all rows; None for a single one.
            longest_side: As for ``preview``.
            max_bytes: As for ``preview``.
            format: As for ``preview``.

        Raises:
            InvalidRequest: The number of images differs from the number of cells; or a limit is out of
                range, or the grid cannot fit into it.
        """
        return await asyncio.to_thread(
            lambda: preview.xy_grid(
                pictures_of(pictures),
                x=x,
                y=y,
                z=z,
                longest_side=longest_side,
                max_bytes=max_bytes,
                format=format,
            )
        )

    async def _draw_grid(
        self,
        found: FoundBatch,
        requests: Sequence[ImageRequest],
        *,
        longest_side: int,
        max_bytes: int,
    ) -> ImageGrid:
        """Draw the images of a batch in a labelled grid, or on a numbered sheet if they form none."""
        paths, cells = [item.path for item in found.items], [_cell(each) for each in requests]
        axes = grid_axes(cells)
        limits = {"longest_side": longest_side, "max_bytes": max_bytes}
        if axes:
            x, y, *z = axes
            picture = await self.xy_grid(paths, x=x, y=y, z=z[0] if z else None, format="jpeg", **limits)
        else:
            described = [Described(str(cell[_PROMPT]), without_prompt(cell)) for cell in cells]
            picture = await self.contact_sheet(
                paths, captions=differing_captions(described), first_number=0, format="jpeg", **limits
            )
        return ImageGrid(picture=picture, axes=axes, paths=tuple(paths), batch_id=found.id)
