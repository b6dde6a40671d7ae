"""List what people ask of an image server every day, and how it is done by tool, at the shell and in Python.

Each request starts in a folder with five images of foxes that are one batch, an image of ours, and a photo in
another folder that is allowed. The texts FIRST, PHOTO, PICTURE and BATCH stand for their paths and its id.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vllm_image_core import GeneratedImage, ImageRequest, Studio

__all__ = ["FOXES", "REQUESTS", "SMALL", "EverydayRequest", "Place", "fill"]

FOXES: Final = 5
"""Images of the batch that is there before."""

SMALL: Final[Mapping[str, Any]] = {"width": 64, "height": 64, "num_inference_steps": 2}
_SHELL_SMALL: Final = ("--width", "64", "--height", "64", "--steps", "2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What exists before a request.

    Attributes:
        first: An image of ours in the output folder.
        photo: A photo outside of it, in a folder that is allowed.
        batch: The id of a batch of five images.
    """

    first: Path
    photo: Path
    batch: str


Python = Callable[[Studio, Place], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EverydayRequest:
    """What somebody asks for, and how it is done.

    Attributes:
        words: What they say.
        tools: The calls of tools, with their arguments.
        commands: The commands with their arguments.
        python: The same with a studio; None where it makes no sense.
        images: How many images there are more than before.
        sizes: Their sizes, smallest first, if they matter.
        suffix: The ending of their names.
        said: Words that each door's answer contains, in any case.
        refused: Whether the answer is an error.
    """

    words: str
    tools: Sequence[tuple[str, Mapping[str, Any]]] = ()
    commands: Sequence[Sequence[str]] = ()
    python: Python | None = None
    images: int = 1
    sizes: Sequence[str] = ()
    suffix: str = ".png"
    said: str = ""
    refused: bool = False


def fill(value: Any, place: Place) -> Any:  # noqa: ANN401 - JSON
    """Return a value with the names of the place's images and batch replaced by what they stand for."""
    match value:
        case str():
            stands_for = {"FIRST": place.first, "PHOTO": place.photo, "BATCH": place.batch}
            for name, meant in stands_for.items():
                value = value.replace(name, str(meant))
            return value
        case Mapping():
            return {name: fill(each, place) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [fill(each, place) for each in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


async def _four_variations(studio: Studio, _: Place) -> None:
    await studio.batch("a red fox", count=4, **SMALL).wait()


async def _three_by_four(studio: Studio, _: Place) -> None:
    await studio.batch(["a fox", "a crow", "a hare"], sweep={"seed": [1, 2, 3, 4]}, **SMALL).wait()


async def _four_sizes(studio: Studio, _: Place) -> None:
    sizes = ["64x64", "96x64", "64x96", "128x64"]
    await studio.batch("a fox", sweep={"size": sizes}, num_inference_steps=2, seed=1).wait()


async def _two_strengths(studio: Studio, _: Place) -> None:
    await studio.batch("a fox", sweep={"lora": ["/loras/ink:0.4", "/loras/ink:0.8"]}, seed=1, **SMALL).wait()


async def _colours(studio: Studio, _: Place) -> None:
    await studio.batch("a red fox", sweep={"red": ["red", "blue", "green"]}, seed=2, **SMALL).wait()


async def _wildcards(studio: Studio, _: Place) -> None:
    await studio.batch("a {red|blue} fox, {day|night}", wildcards=True, **SMALL).wait()


async def _own_settings(studio: Studio, _: Place) -> None:
    prompts = [
        {"prompt": "a fox", "size": "64x64", "filename": "icon"},
        {"prompt": "a crow", "size": "128x64", "filename": "banner"},
    ]
    await studio.batch(prompts, num_inference_steps=2).wait()


async def _best_three(studio: Studio, _: Place) -> None:
    batch = studio.batch("a fox", count=20, score=lambda image: image.seed % 7, keep=3, **SMALL)
    await batch.wait()
    assert len(await _kept(studio)) == 3, batch


async def _kept(studio: Studio) -> Sequence[object]:
    return (await studio.find(kept=True)).pictures


async def _keep_two(studio: Studio, place: Place) -> None:
    await studio.rate(place.batch, indexes=[1, 4], verdict="keep")
    assert len(await _kept(studio)) == 2


async def _more_like_kept(studio: Studio, place: Place) -> None:
    await _keep_two(studio, place)
    await studio.batch(await studio.more_like()).wait()


async def _same_but_larger(studio: Studio, place: Place) -> None:
    recalled = await studio.recall(place.first)
    assert isinstance(recalled.request, ImageRequest)
    await studio.generate(
        "a red fox", width=128, height=128, num_inference_steps=2, seed=recalled.request.seed
    )


async def _change_it(studio: Studio, place: Place) -> GeneratedImage:
    return await studio.edit("make it night", place.first, num_inference_steps=2)


REQUESTS: Final = (
    EverydayRequest(
        words="A red fox in the snow.",
        tools=[("generate_image", {"prompt": "a red fox in the snow", **SMALL})],
        commands=[("generate", "a red fox in the snow", *_SHELL_SMALL)],
        python=lambda studio, _: studio.generate("a red fox in the snow", **SMALL),
        sizes=["64x64"],
    ),
    EverydayRequest(
        words="Four variations of it.",
        tools=[("batch_generate", {"prompts": ["a red fox"], "count": 4, **SMALL})],
        commands=[("sweep", "a red fox", "--count", "4", *_SHELL_SMALL)],
        python=_four_variations,
        images=4,
    ),
    EverydayRequest(
        words="Make that one night.",
        tools=[("edit_image", {"prompt": "make it night", "images": ["FIRST"], "num_inference_steps": 2})],
        commands=[("edit", "make it night", "FIRST", "--steps", "2")],
        python=_change_it,
    ),
    EverydayRequest(
        words="The same one, twice as large.",
        tools=[("generate_image", {"prompt": "a red fox", **SMALL, "width": 128, "height": 128, "seed": 1})],
        commands=[
            ("generate", "a red fox", "--width", "128", "--height", "128", "--steps", "2", "--seed", "1")
        ],
        python=_same_but_larger,
        sizes=["128x128"],
    ),
    EverydayRequest(
        words="JPEGs for the web, named web.",
        tools=[
            (
                "batch_generate",
                {"prompts": ["a fox", "a crow"], "output_format": "jpeg", "filename": "web", **SMALL},
            )
        ],
        commands=[
            ("sweep", "a fox", "a crow", "--output-format", "jpeg", "--filename", "web", *_SHELL_SMALL),
        ],
        python=lambda studio, _: studio.batch(
            ["a fox", "a crow"], output_format="jpeg", filename="web", **SMALL
        ).wait(),
        images=2,
        suffix=".jpg",
    ),
    EverydayRequest(
        words="One prompt in four sizes.",
        tools=[
            (
                "batch_generate",
                {
                    "prompts": ["a fox"],
                    "num_inference_steps": 2,
                    "sweep": {"size": ["64x64", "96x64", "64x96", "128x64"]},
                },
            )
        ],
        commands=[("sweep", "a fox", "--steps", "2", "--sweep", "size=64x64,96x64,64x96,128x64")],
        python=_four_sizes,
        images=4,
        sizes=["128x64", "64x64", "64x96", "96x64"],
    ),
    EverydayRequest(
        words="Put a moon into the upper right corner.",
        tools=[
            (
                "edit_image",
                {
                    "prompt": "a moon",
                    "images": ["FIRST"],
                    "mask_box": [0.5, 0, 1, 0.5],
                    "num_inference_steps": 2,
                },
            )
        ],
        commands=[("edit", "a moon", "FIRST", "--mask-box", "0.5,0,1,0.5", "--steps", "2")],
        python=lambda studio, place: studio.edit(
            "a moon", place.first, mask_box=[0.5, 0, 1, 0.5], num_inference_steps=2
        ),
        sizes=["64x64"],
    ),
    EverydayRequest(
        words="Change only this triangle.",
        tools=[
            (
                "edit_image",
                {
                    "prompt": "a tree",
                    "images": ["FIRST"],
                    "mask_polygon": [0, 1, 0.5, 0, 1, 1],
                    "num_inference_steps": 2,
                },
            )
        ],
        commands=[("edit", "a tree", "FIRST", "--mask-polygon", "0,1,0.5,0,1,1", "--steps", "2")],
        python=lambda studio, place: studio.edit(
            "a tree", place.first, mask_polygon=[[0, 1], [0.5, 0], [1, 1]], num_inference_steps=2
        ),
    ),
    EverydayRequest(
        words="Extend it to 16:9.",
        tools=[
            (
                "edit_image",
                {"prompt": "a forest", "images": ["FIRST"], "outpaint": "16:9", "num_inference_steps": 2},
            )
        ],
        commands=[("edit", "a forest", "FIRST", "--outpaint", "16:9", "--steps", "2")],
        python=lambda studio, place: studio.edit(
            "a forest", place.first, outpaint="16:9", num_inference_steps=2
        ),
    ),
    EverydayRequest(
        words="Upscale it, with a model that cannot.",
        tools=[
            ("edit_image", {"prompt": "a fox", "images": ["FIRST"], "upscale": 2, "num_inference_steps": 4})
        ],
        commands=[("edit", "a fox", "FIRST", "--upscale", "2", "--steps", "4")],
        python=lambda studio, place: studio.edit("a fox", place.first, upscale=2, num_inference_steps=4),
        images=0,
        said="models that do: tongyi-mai/z-image-turbo",
        refused=True,
    ),
    EverydayRequest(
        words="My own photo as a watercolour.",
        tools=[("edit_image", {"prompt": "as a watercolour", "images": ["PHOTO"], "num_inference_steps": 2})],
        commands=[("edit", "as a watercolour", "PHOTO", "--steps", "2")],
        python=lambda studio, place: studio.edit("as a watercolour", place.photo, num_inference_steps=2),
    ),
    EverydayRequest(
        words="The fox of this image in the place of that photo.",
        tools=[
            (
                "edit_image",
                {"prompt": "put the fox there", "images": ["FIRST", "PHOTO"], "num_inference_steps": 2},
            )
        ],
        commands=[("edit", "put the fox there", "FIRST", "PHOTO", "--steps", "2")],
        python=lambda studio, place: studio.edit(
            "put the fox there", [place.first, place.photo], num_inference_steps=2
        ),
    ),
    EverydayRequest(
        words="With my LoRA, at two strengths.",
        tools=[
            (
                "batch_generate",
                {"prompts": ["a fox"], "sweep": {"lora": ["/loras/ink:0.4", "/loras/ink:0.8"]}, **SMALL},
            )
        ],
        commands=[("sweep", "a fox", "--sweep", "lora=/loras/ink:0.4,/loras/ink:0.8", *_SHELL_SMALL)],
        python=_two_strengths,
        images=2,
    ),
    EverydayRequest(
        words="Three prompts by four seeds.",
        tools=[
            (
                "batch_generate",
                {"prompts": ["a fox", "a crow", "a hare"], "sweep": {"seed": [1, 2, 3, 4]}, **SMALL},
            )
        ],
        commands=[("sweep", "a fox", "a crow", "a hare", "--sweep", "seed=1..4", *_SHELL_SMALL)],
        python=_three_by_four,
        images=12,
    ),
    EverydayRequest(
        words="How long would 3 prompts, 4 seeds and 3 guidance values take?",
        tools=[
            (
                "batch_generate",
                {
                    "prompts": ["a fox", "a crow", "a hare"],
                    "sweep": {"seed": [1, 2, 3, 4], "guidance_scale": [1, 2, 3]},
                    "dry_run": True,
                },
            )
        ],
        commands=[
            (
                *("sweep", "a fox", "a crow", "a hare", "--dry-run"),
                *("--sweep", "seed=1..4", "--sweep", "guidance_scale=1,2,3"),
            )
        ],
        images=0,
        said="36",
    ),
    EverydayRequest(
        words="The fox in red, blue and green.",
        tools=[
            (
                "batch_generate",
                {"prompts": ["a red fox"], "sweep": {"red": ["red", "blue", "green"]}, "seeds": [2], **SMALL},
            )
        ],
        commands=[("sweep", "a red fox", "--sweep", "red=red,blue,green", "--seed", "2", *_SHELL_SMALL)],
        python=_colours,
        images=3,
    ),
    EverydayRequest(
        words="Every combination of these colours and times of day.",
        tools=[
            (
                "batch_generate",
                {"prompts": ["a {red|blue} fox, {day|night}"], "wildcards": True, **SMALL},
            )
        ],
        commands=[("sweep", "a {red|blue} fox, {day|night}", "--wildcards", *_SHELL_SMALL)],
        python=_wildcards,
        images=4,
    ),
    EverydayRequest(
        words="An icon and a banner, each with its own size and name.",
        tools=[
            (
                "batch_generate",
                {
                    "prompts": [
                        {"prompt": "a fox", "size": "64x64", "filename": "icon"},
                        {"prompt": "a crow", "size": "128x64", "filename": "banner"},
                    ],
                    "num_inference_steps": 2,
                },
            )
        ],
        python=_own_settings,
        images=2,
        sizes=["128x64", "64x64"],
    ),
    EverydayRequest(
        words="A quick draft.",
        tools=[("generate_image", {"prompt": "a fox", "quality": "draft", "width": 64, "height": 64})],
        commands=[("generate", "a fox", "--quality", "draft", "--width", "64", "--height", "64")],
        python=lambda studio, _: studio.generate("a fox", quality="draft", width=64, height=64),
    ),
    EverydayRequest(
        words="Keep the second and the fifth.",
        tools=[("rate_images", {"batch_id": "BATCH", "indexes": [1, 4], "verdict": "keep"})],
        commands=[("rate", "keep", "BATCH", "1", "4")],
        python=_keep_two,
        images=0,
    ),
    EverydayRequest(
        words="The best three of twenty.",
        python=_best_three,
        images=20,
    ),
    EverydayRequest(words="Two more like the ones I kept.", python=_more_like_kept, images=2),
    EverydayRequest(
        words="More like the ones I kept.",
        tools=[
            ("rate_images", {"batch_id": "BATCH", "indexes": [1, 4], "verdict": "keep"}),
            ("find_images", {"verdict": "keep", "new_seeds": True}),
        ],
        commands=[("rate", "keep", "BATCH", "1", "4"), ("find", "--kept", "--requests")],
        images=0,
        said="a fox",
    ),
    EverydayRequest(
        words="Where is the red fox of before?",
        tools=[("find_images", {"text": "red fox"})],
        commands=[("find", "red", "fox")],
        python=lambda studio, _: studio.find("red fox"),
        images=0,
        said="fox",
    ),
    EverydayRequest(
        words="Which model is this, and what does it take?",
        tools=[("get_model_info", {})],
        commands=[("models", "klein")],
        python=lambda studio, _: studio.model(),
        images=0,
        said="klein",
    ),
    EverydayRequest(
        words="How long does one take here?",
        tools=[("estimate_generation", {"num_images": 10, "width": 1024, "height": 1024})],
        commands=[("estimate", "10", "--width", "1024", "--height", "1024")],
        python=lambda studio, _: studio.estimate(width=1024, height=1024),
        images=0,
    ),
    EverydayRequest(
        words="A logo with a transparent background, from a model that has none.",
        tools=[
            (
                "edit_image",
                {"prompt": "a logo", "images": ["FIRST"], "extra_params": {"background": "transparent"}},
            )
        ],
        commands=[("edit", "a logo", "FIRST", "--background", "transparent")],
        python=lambda studio, place: studio.edit("a logo", place.first, background="transparent"),
        images=0,
        said="layered",
        refused=True,
    ),
)
"""The requests; each is done through every door that it makes sense for."""
