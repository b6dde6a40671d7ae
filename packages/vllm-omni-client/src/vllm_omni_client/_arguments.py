"""Build a request from a prompt and keyword arguments, and say what an unknown argument probably meant."""

import inspect
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, Literal, TypedDict, TypeVar, cast

from pydantic import SecretStr

from vllm_omni_client._fields import OutputFormat, unknown_field
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.models import ImageGenerationRequest, Lora

Function = TypeVar("Function", bound=Callable[..., object])
Request = TypeVar("Request", ImageGenerationRequest, ImageEditRequest)

_STEPS: Final = "num_inference_steps"


class CallOptions(TypedDict, total=False):
    """Settings of one call, instead of the client's own; headers are sent in addition to the client's."""

    timeout: float | None
    max_retries: int | None
    extra_headers: Mapping[str, str | SecretStr] | None


class SharedValues(CallOptions, total=False):
    """The fields that generations and edits have in common; `steps` is short for `num_inference_steps`."""

    size: str | tuple[int, int] | None
    steps: int | None
    num_inference_steps: int | None
    guidance_scale: float | None
    true_cfg_scale: float | None
    seed: int | None
    negative_prompt: str | None
    n: int
    model: str | None
    output_format: OutputFormat | None
    output_compression: int | None
    lora: Lora | Mapping[str, object] | None
    layers: int | None
    generator_device: str | None
    return_stage_metrics: bool | None
    bot_task: str | None
    system_prompt: str | None
    user: str | None


class GenerationValues(SharedValues, total=False):
    """What `generate_image` takes by name: the fields of `ImageGenerationRequest`, and `CallOptions`."""

    response_format: Literal["b64_json", "file"] | None
    flow_shift: float | None
    extra_params: Mapping[str, Any] | None
    use_system_prompt: str | None
    vae_use_slicing: bool | None
    vae_use_tiling: bool | None


class EditValues(SharedValues, total=False):
    """What `edit_image` takes by name: the fields of `ImageEditRequest`, and `CallOptions`."""

    response_format: Literal["b64_json"] | None
    background: str | None
    guidance_scale_2: float | None
    strength: float | None
    resolution: Literal[640, 1024] | None
    sys_type: str | None


def take_options(values: Mapping[str, object]) -> CallOptions:
    """Remove the options of a call from its values, and return those that were given.

    The values are changed in place, so that no frame of a traceback keeps a header.
    """
    remaining = cast("MutableMapping[str, object]", values)
    options = {name: remaining.pop(name) for name in CallOptions.__annotations__ if name in remaining}
    return cast("CallOptions", {name: value for name, value in options.items() if value is not None})


def as_request(kind: type[Request], request: Request | str, values: Mapping[str, object]) -> Request:
    """Return a request with these fields: a new one for a prompt, or a changed copy of a given one.

    Raises:
        InvalidParameter: A field is unknown, has the wrong type or is out of range.
    """
    known = {*kind.model_fields, *CallOptions.__annotations__}
    given = dict(values)
    if "steps" in given:
        if _STEPS in given:
            raise InvalidParameter(f"steps is short for {_STEPS}; give only one of them", parameter="steps")
        given[_STEPS] = given.pop("steps")
    for name in given:
        if name not in kind.model_fields:
            raise unknown_field(name, known)
    if isinstance(request, str):
        if "prompt" in given:
            raise InvalidParameter("the prompt is given twice", parameter="prompt")
        return kind.model_validate({"prompt": request, **given})
    if not isinstance(request, kind):
        raise InvalidParameter(f"{type(request).__name__} is not a prompt or an {kind.__name__}")
    return kind.model_validate({**dict(request), **given}) if given else request


def with_named_values(values: type) -> Callable[[Function], Function]:
    """Give a function that takes `**values` a signature that names each of them, for `help` and editors."""
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in values.__annotations__.items()
    ]

    def name_values(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        cast("Any", function).__signature__ = signature.replace(parameters=[*own, *added])
        return function

    return name_values
