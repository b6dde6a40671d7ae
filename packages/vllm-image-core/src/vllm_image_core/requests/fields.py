"""The table of request fields: all other modules, tools, commands and files take what they need from it.

A field that is checked, sent, recorded and shown as it is needs no code of its own. It takes three entries
here: a default in `PlainFields`, a type in `RequestValues`, and a description in `REQUEST_FIELDS`. Its bounds
are those of the client's request types, which have it, too.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, dataclass, fields
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    TypedDict,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from vllm_image_core.models.quality import Quality
from vllm_image_core.requests.style import Style

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

OutputFormat = Literal["png", "jpeg", "webp"]
"""The formats in which the server can encode an image."""

SystemPrompt = Literal["dynamic", "en_vanilla", "en_recaption", "en_think_recaption", "en_unified", "custom"]
"""The system prompts of HunyuanImage-3.0 (source: vLLM-Omni 0.30.0, `protocol/images.py`)."""

AreaLists = list[list[float]]
"""Boxes or polygons, each as its numbers."""

Background = Literal["auto", "opaque", "transparent"]

JsonMapping = Mapping[str, Any]
"""A JSON object."""

Kind = Literal["text", "integer", "number", "boolean", "choice", "image", "object", "lora", "areas"]
Surface = Literal["generate_image", "batch_generate", "edit_image", "generate", "batch", "edit"]
Bounds = tuple[float, float] | None

RANDOM_SEED: Final = -1
"""The seed that asks for a random one, wherever people and assistants give single values."""

TOOLS: Final[tuple[Surface, ...]] = ("generate_image", "batch_generate", "edit_image")
"""The tools that take request fields."""

_KINDS: Final[Mapping[object, Kind]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    JsonMapping: "object",
}
_EVERYWHERE: Final[frozenset[Surface]] = frozenset(get_args(Surface))
_COMMANDS: Final[frozenset[Surface]] = frozenset({"generate", "batch", "edit"})
_EDITS: Final[frozenset[Surface]] = frozenset({"edit_image", "edit"})
_GENERATES: Final[frozenset[Surface]] = frozenset({"generate", "batch"})
_METAVARS: Final[Mapping[Kind, str]] = {
    "text": "TEXT",
    "integer": "N",
    "number": "X",
    "image": "FILE",
    "object": "JSON",
    "lora": "PATH:SCALE",
    "areas": "X,Y,X,Y",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainFields:
    """The fields that are checked, sent and recorded as they are; None means "not requested"."""

    lora: str | None = None
    flow_shift: float | None = None
    extra_params: JsonMapping | None = None
    guidance_scale_2: float | None = None
    output_compression: int | None = None
    generator_device: str | None = None
    bot_task: str | None = None
    sys_type: str | None = None
    system_prompt: str | None = None
    use_system_prompt: SystemPrompt | None = None
    background: Background | None = None


class RequestValues(TypedDict, total=False):
    """The fields of a request besides its prompt, as `Studio.generate` takes them; see `ImageRequest`."""

    negative_prompt: str | None
    width: int | None
    height: int | None
    aspect_ratio: str | None
    num_inference_steps: int | None
    guidance_scale: float | None
    seed: int | None
    filename: str | None
    quality: Quality | None
    style: Style | str | None
    tag: str | None
    output_format: OutputFormat | None
    lora: str | None
    flow_shift: float | None
    extra_params: JsonMapping | None
    guidance_scale_2: float | None
    output_compression: int | None
    generator_device: str | None
    bot_task: str | None
    sys_type: str | None
    system_prompt: str | None
    use_system_prompt: SystemPrompt | None
    background: Background | None


@dataclass(frozen=True, slots=True)
class RequestField:
    """One field of a request.

    Attributes:
        name: Its name in requests, tools, batch files, image files and the index.
        type: The type of its values.
        description: What the tools' schemas say about it.
        help: What the shell says about it; the description if empty.
        option: Its option at the shell; "--" and the name with hyphens if empty.
        metavar: The value's placeholder in the shell's help; chosen by type if empty.
        wire: Its name in the request to the server; None if it is not sent under a name of its own.
        allowed: What its values may be, in words; derived from its bounds if empty.
        noun: What a choice is called, with its article.
        form: The kind of its values, if its type does not say it.
        range: Its least and greatest number, if the client's request types do not have it.
        shown_in: The tools and the commands that have it. Batch files have all fields but those of edits. A
            tool takes the others inside `extra_params`.
        short: Other names for it in batch files and sweeps, separated by spaces.
        aliases: What other programs call it, likewise; a tool that gets such a name points to this field.
        swept: Whether a sweep may vary it.
        indexed: Whether the index of the output folder holds it.
    """

    name: str
    type: Any
    description: str
    help: str = ""
    _: KW_ONLY
    option: str = ""
    metavar: str = ""
    wire: str | None = None
    allowed: str = ""
    noun: str = "one of the choices"
    form: Kind | None = None
    range: Bounds = None
    shown_in: frozenset[Surface] = _EVERYWHERE
    short: str = ""
    aliases: str = ""
    swept: bool = True
    indexed: bool = False

    @property
    def kind(self) -> Kind:
        """What its values are: text, a kind of number, a choice, an image, an object, or a LoRA."""
        return self.form or _KINDS.get(self.type, "choice" if self.choices else "image")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a choice."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def bounds(self) -> Bounds:
        """The least and the greatest number that it may be; None if there are none."""
        if self.range is not None:
            return self.range
        limits = _wire_fields()[self.wire or self.name].metadata
        least = next((limit.ge for limit in limits if hasattr(limit, "ge")), None)
        most = next((limit.le for limit in limits if hasattr(limit, "le")), None)
        return None if least is None or most is None else (least, most)

    @property
    def help_text(self) -> str:
        """What people read about it, at the shell and in Python."""
        return self.help or self.description

    @property
    def placeholder(self) -> str | None:
        """The value's placeholder in the shell's help; None for what click writes itself."""
        return self.metavar or _METAVARS.get(self.kind)

    @property
    def of_edits(self) -> bool:
        """Whether only requests that start from images have it."""
        return self.name not in {"prompt", *RequestValues.__annotations__}

    @property
    def in_edits(self) -> bool:
        """Whether the server takes it for edits."""
        from vllm_omni_client.edits import ImageEditRequest  # noqa: PLC0415 - slow to import

        return self.wire in ImageEditRequest.model_fields

    @property
    def in_generations(self) -> bool:
        """Whether the server takes it for images that are generated from text."""
        from vllm_omni_client.models import ImageGenerationRequest  # noqa: PLC0415 - slow to import

        return self.wire in ImageGenerationRequest.model_fields


@functools.cache
def generation_fields() -> tuple[RequestField, ...]:
    """Return the plain fields that the server takes for images that are generated from text."""
    return tuple(each for each in PLAIN_FIELDS if each.in_generations)


@functools.cache
def edit_fields() -> tuple[RequestField, ...]:
    """Return the plain fields that the server takes for edits."""
    return tuple(each for each in PLAIN_FIELDS if each.in_edits)


@functools.cache
def _wire_fields() -> "Mapping[str, FieldInfo]":
    """Each field that either request type of the client has."""
    from vllm_omni_client.edits import ImageEditRequest  # noqa: PLC0415 - slow to import
    from vllm_omni_client.models import ImageGenerationRequest  # noqa: PLC0415 - likewise

    return {**ImageEditRequest.model_fields, **ImageGenerationRequest.model_fields}


# fmt: off
REQUEST_FIELDS: Final = (
    RequestField("prompt", str, "Text description of the image.", wire="prompt", shown_in=frozenset(TOOLS),
        swept=False, indexed=True, aliases="prompts positive_prompt prompt_text text_prompt image_prompt"),
    RequestField("images", object,
        "file_path or name of images made here, or files in allowed folders. No URLs.",
        shown_in=frozenset({"edit_image"}), swept=False,
        aliases="image input_image input_images image_path image_paths image_url image_urls init_image "
        "source_image source_images base_image picture pictures "
        "image_file image_files original_image"),
    RequestField("mask", object, "Like images: white may change, black stays. Only for models that inpaint.",
        "Mask image: white where the image may change.", shown_in=frozenset({"edit_image", "edit"}),
        swept=False, aliases="mask_image inpaint_mask mask_path masks"),
    RequestField("mask_box", AreaLists, "[[left, top, right, bottom]] to change, in pixels or fractions.",
        "Box that may change, in pixels or fractions of the image; separate several with ';'.",
        form="areas", metavar="LEFT,TOP,RIGHT,BOTTOM", shown_in=_EDITS,
        aliases="box boxes bbox bboxes mask_boxes region regions mask_region"),
    RequestField("mask_polygon", AreaLists, "Likewise the corners [[x, y]] of a polygon.",
        "Corners of a polygon that may change; separate several with ';'.", form="areas",
        metavar="X,Y,X,Y,X,Y", shown_in=_EDITS, aliases="polygon polygons mask_polygons mask_points"),
    RequestField("mask_feather", float, "", "Width in pixels of the soft edge of boxes and polygons.",
        range=(0, 512), shown_in=frozenset({"edit"}), aliases="feather mask_blur blur_mask"),
    RequestField("outpaint", str, 'Ratio to extend the image to, such as "16:9".',
        'Aspect ratio to extend the image to, such as "16:9"; the prompt says what lies beyond its edges.',
        metavar="W:H", shown_in=_EDITS, aliases="extend expand uncrop extend_to outpaint_to"),
    RequestField("upscale", float, "How many times larger, 1.1 to 4.",
        "How many times larger each side becomes, 1.1 to 4; for models with a strength.", range=(1.1, 4),
        shown_in=_EDITS, aliases="upscale_factor enlarge scale_factor"),
    RequestField("reference_image", object, "Image of a subject or style to reuse.",
        "Image from which to take a subject or a style.", shown_in=_EDITS, swept=False,
        aliases="ref_image reference_images ref_images style_image"),
    RequestField("strength", float, "0 to 1: how far it may depart from the image, if the model supports it.",
        "0 to 1: how far the result may differ from the image.", wire="strength",
        shown_in=frozenset({"edit_image", "edit"}),
        aliases="denoise denoising_strength image_strength denoising edit_strength"),
    RequestField("layers", int, "2 to 10, if the model splits images.",
        "2 to 10 layers, for models that split an image into layers.",
        wire="layers", shown_in=_EDITS, aliases="layer_count num_layers"),
    RequestField("resolution", int, "", "640 or 1024, instead of a size, if the model splits images.",
        wire="resolution", shown_in=frozenset({"edit"})),
    RequestField("negative_prompt", str, "What to avoid.",
        "What to keep out of the image.", wire="negative_prompt", indexed=True,
        aliases="neg_prompt neg negative negative_prompts avoid exclude"),
    RequestField("width", int, "Pixels.", "Image width in pixels.", metavar="PIXELS",
        indexed=True,
        aliases="w image_width output_width width_px"),
    RequestField("height", int, "Pixels.", "Image height in pixels.", metavar="PIXELS",
        indexed=True,
        aliases="h image_height output_height height_px"),
    RequestField("aspect_ratio", str, 'E.g. "16:9"; overrides width/height.',
        'Aspect ratio, such as "16:9"; overrides width and height.', metavar="W:H",
        aliases="ratio aspect ar image_ratio image_aspect_ratio"),
    RequestField("num_inference_steps", int, "Steps, 1 to 200.", "Number of inference steps.",
        option="--steps", wire="num_inference_steps", indexed=True, short="steps",
        aliases="step n_steps num_steps inference_steps sampling_steps sample_steps step_count "
        "diffusion_steps denoising_steps number_of_steps inference_step_count"),
    RequestField("guidance_scale", float, "CFG scale, 0 to 20.", "How closely to follow the prompt.",
        wire="guidance_scale", indexed=True, short="guidance cfg",
        aliases="cfg_scale true_cfg_scale true_cfg scale cfg_guidance guidance_strength cfg_value "
        "text_guidance classifier_free_guidance"),
    RequestField("seed", int, "For reproducibility. Default: random.", "Seed. Default, and -1: random.",
        wire="seed", allowed="a signed 64-bit integer, preferably from 0 to 4294967295",
        range=(-(2**63), 2**63 - 1), shown_in=_EVERYWHERE - {"batch"}, indexed=True,
        aliases="seeds random_seed rng_seed noise_seed manual_seed seed_value"),
    RequestField("filename", str, "Name or folder/name.",
        "File name. Default: the time and a hash.", metavar="NAME", swept=False,
        aliases="file file_name output output_file output_filename output_name output_path save_path save_as "
        "file_path image_name out"),
    RequestField("quality", Quality, "Preset for omitted settings.",
        "Preset for any settings you omit; `standard` uses the model's defaults.", noun="a quality",
        aliases="preset quality_preset image_quality quality_level"),
    RequestField("style", str, "A saved style.",
        "Name of a saved style, such as watercolor.", metavar="NAME",
        aliases="style_name style_preset styles look"),
    RequestField("tag", str, "A label to find the image by.", shown_in=frozenset(), swept=False,
        indexed=True),
    RequestField("output_format", OutputFormat, "Default: png.",
        "File format. Default: png, the only lossless one.", wire="output_format",
        noun="a supported format", shown_in=_EVERYWHERE,
        aliases="format image_format file_format file_type image_type output_type extension ext mime_type"),
    RequestField("lora", str, "On the server: PATH:SCALE.",
        "LoRA: its path on the server or its name in the profile, and a scale, such as /loras/ink:0.8.",
        wire="lora", form="lora", indexed=True,
        aliases="loras lora_path lora_name lora_request adapter lora_adapter"),
    RequestField("flow_shift", float, "", "Shift of the flow-matching schedule.", wire="flow_shift",
        shown_in=_GENERATES, indexed=True, aliases="shift sigma_shift timestep_shift"),
    RequestField("extra_params", JsonMapping, "Rare parameters by name.",
        "The model's own parameters, as a JSON object.", wire="extra_params",
        shown_in=frozenset({*TOOLS, *_GENERATES}), indexed=True, aliases="extra_args model_params"),
    RequestField("guidance_scale_2", float, "", "Guidance of the second stage, for models with two stages.",
        wire="guidance_scale_2", shown_in=frozenset({"edit"}), indexed=True, aliases="image_guidance_scale"),
    RequestField("output_compression", int, "", "JPEG and WebP: quality, 0 to 100.",
        wire="output_compression", shown_in=_COMMANDS, indexed=True,
        aliases="compression jpeg_quality webp_quality"),
    RequestField("generator_device", str, "", "Where the noise is drawn: cpu or cuda.",
        wire="generator_device", shown_in=_COMMANDS, indexed=True, aliases="rng_device"),
    RequestField("bot_task", str, "", "HunyuanImage-3.0: its task mode, such as think.", wire="bot_task",
        shown_in=_COMMANDS, indexed=True),
    RequestField("sys_type", str, "", "HunyuanImage-3.0: its kind of system prompt for edits.",
        wire="sys_type", shown_in=frozenset({"edit"}), indexed=True),
    RequestField("system_prompt", str, "", "HunyuanImage-3.0: a system prompt of your own.",
        wire="system_prompt", shown_in=_COMMANDS, indexed=True),
    RequestField("use_system_prompt", SystemPrompt, "", "HunyuanImage-3.0: which system prompt to use.",
        wire="use_system_prompt", noun="a system prompt", shown_in=_GENERATES, indexed=True),
    RequestField("background", Background, "", "Whether it may be transparent; few models support this.",
        wire="background", noun="a kind of background", shown_in=_COMMANDS, indexed=True),
)
# fmt: on
"""Every field that a caller can set, in the order in which tools and batch files list them."""

PLAIN_FIELDS: Final = tuple(
    each for each in REQUEST_FIELDS if each.name in {field.name for field in fields(PlainFields)}
)
"""The fields that need no code of their own."""

SENT_TEXTS: Final = frozenset(each.name for each in REQUEST_FIELDS if each.kind == "text" and each.wire)
"""The fields whose text is sent to the server, such as the prompts."""

SWEPT: Final = tuple(each.name for each in REQUEST_FIELDS if each.swept)
"""The names of the fields that a sweep may vary."""

SHORT_NAMES: Final = {short: each.name for each in REQUEST_FIELDS for short in each.short.split()}
"""The names of fields by other names for them."""

_BY_NAME: Final[Mapping[str, RequestField]] = {each.name: each for each in REQUEST_FIELDS}


def field_named(name: str) -> RequestField:
    """Return the field of a name, which must be in the table."""
    return _BY_NAME[name]


def fields_shown_in(surface: Surface) -> tuple[RequestField, ...]:
    """Return the fields that a tool or a command has."""
    return tuple(each for each in REQUEST_FIELDS if surface in each.shown_in)


RARE_NAMES: Final = frozenset(each.name for each in PLAIN_FIELDS if not each.shown_in & frozenset(TOOLS))
"""The fields that no tool has as a parameter of its own; all of them take these inside `extra_params`."""

RARE_EDIT_NAMES: Final = RARE_NAMES | {
    each.name for each in REQUEST_FIELDS if each.shown_in == frozenset({"edit"}) and each.kind != "image"
}
"""The same for the tool that edits images."""


def without_rare_fields(values: Mapping[str, Any], names: AbstractSet[str] = RARE_NAMES) -> dict[str, Any]:
    """Return the values, with any real fields inside `extra_params` moved out of it.

    Values of `extra_params` that are not an object stay, to be refused where values are checked.
    """
    extra = values.get("extra_params")
    if not isinstance(extra, Mapping):
        return dict(values)
    inside = cast("JsonMapping", extra)
    moved = {name: value for name, value in inside.items() if name in names}
    rest = {name: value for name, value in inside.items() if name not in moved}
    return {**values, **moved, "extra_params": rest or None}


def plain_values(source: PlainFields) -> dict[str, Any]:
    """Return the plain fields that have a value, by name."""
    found = {each.name: getattr(source, each.name) for each in PLAIN_FIELDS}
    return {name: value for name, value in found.items() if value is not None}


_VALUES_ENTRY: Final = re.compile(r"^( +)values: .*\n(?:\1 +.*\n)*", re.MULTILINE)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def with_named_parameters(named: Mapping[str, object] | None = None) -> Callable[[_Function], _Function]:
    """Give a function that takes `**values` a signature that names each of them, for help texts and schemas.

    A parameter that the function declares itself, or whose plural it declares, stays as it is. In the
    function's docstring, the entry "values" becomes one entry for each name that the function did not have.

    Args:
        named: The type of each value, by name; None for those of `RequestValues`.
    """
    types = get_type_hints(RequestValues) if named is None else named

    def name_parameters(function: _Function) -> _Function:
        signature = inspect.signature(function, eval_str=True)
        own = {name: each for name, each in signature.parameters.items() if each.kind is not each.VAR_KEYWORD}
        leading = [own.pop(name) for name, each in [*own.items()] if each.kind is not each.KEYWORD_ONLY]
        given = [
            own.pop(name, None)
            or own.pop(f"{name}s", None)
            or inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in types.items()
        ]
        cast("Any", function).__signature__ = signature.replace(parameters=[*leading, *given, *own.values()])
        added = [each.name for each in given if each.name not in signature.parameters]
        function.__doc__ = _VALUES_ENTRY.sub(
            lambda entry: "".join(f"{entry[1]}{name}: {_BY_NAME[name].help_text}\n" for name in added),
            function.__doc__ or "",
        )
        return function

    return name_parameters
