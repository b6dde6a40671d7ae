"""POST /v1/chat/completions: a picture as the answer in a conversation."""

import time
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, cast

from vllm_omni_client.simulator.chat_request import ChatRequest
from vllm_omni_client.simulator.engine import Finished
from vllm_omni_client.simulator.generation_request import check_layers, check_lora
from vllm_omni_client.simulator.model_rules import ModelRules
from vllm_omni_client.simulator.order import Pictures
from vllm_omni_client.simulator.refusal import Refusal
from vllm_omni_client.simulator.release import Release
from vllm_omni_client.simulator.wish import Adapter, Wish, failure

ROUTE: Final = "Image generation"
_UINT64_LIMIT: Final = 2**64
KIND: Final = "BadRequestError"
"""The `type` of every error that is found here, of those of the engine too."""
_PILLOWS_OWN_LEVEL: Final = 33
"""PNG at zlib level 6: pictures of a conversation are saved as Pillow saves by itself."""


def wish_for(request: ChatRequest, rules: ModelRules, *, release: Release) -> Wish:
    """What a conversation asks for; numbers are not checked for their range here.

    Raises:
        Refusal: With the server's status and message.
    """
    try:
        options = request.options(release.chat_options)
        _check_layers(options.get("layers"), release)
        _check_steps(options.get("num_inference_steps"), rules)
        _check_resolution(options.get("resolution"))
        return _wish(request, options, rules, release)
    except (TypeError, OverflowError, AttributeError) as error:
        raise failure(ROUTE, error, kind=KIND) from error
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, str(error), kind=KIND) from error


def _wish(request: ChatRequest, options: Mapping[str, object], rules: ModelRules, release: Release) -> Wish:
    prompt = request.prompt()
    if not prompt and release.chat_options == "nested":
        raise ValueError("No text prompt found in messages")
    width, height = _size(options)
    negative = options.get("negative_prompt")
    seed = _seed(options)
    return Wish(
        route=ROUTE,
        error_kind=KIND,
        prompt=prompt,
        negative_prompt=None if negative is None else str(negative),
        n=_count(options),
        width=width,
        height=height,
        steps=_whole(options, "num_inference_steps"),
        guidance_scale=_number(options, "guidance_scale", compared=("'>'", "float")),
        true_cfg_scale=_number(options, "true_cfg_scale") if rules.reads_true_cfg_scale else None,
        seed=request.seed if seed is None and release.chat_options == "both" else seed,
        adapter=_adapter(options.get("lora")),
        pictures=request.pictures(),
        output_format="png",
        output_compression=_PILLOWS_OWN_LEVEL,
    )


def _check_steps(steps: object, rules: ModelRules) -> None:
    """Each pipeline stumbles over steps that are no whole number where it first calculates with them."""
    if steps is not None and not isinstance(steps, int | float):
        kind = type(steps).__name__
        raise TypeError(
            f"'<=' not supported between instances of '{kind}' and 'int'"
            if rules.family.positive_steps
            else f"unsupported operand type(s) for /: 'int' and '{kind}'"
        )
    if steps is not None and steps <= 0 and rules.family.positive_steps:
        raise TypeError(f"num_inference_steps must be positive, got {steps}")
    if isinstance(steps, float):
        raise TypeError("'float' object cannot be interpreted as an integer")


def _check_resolution(resolution: object) -> None:
    """The server takes the whole number of it, and does not use it."""
    try:
        int(cast("str", resolution) if resolution is not None else 0)
    except ValueError as error:
        raise TypeError(str(error)) from error


def _check_layers(layers: object, release: Release) -> None:
    """Whether there may be so many layers; what is no whole number is refused in the same words."""
    check_layers(layers if type(layers) is int or layers is None else 0, release, shown=layers)


def _count(options: Mapping[str, object]) -> int:
    """How many pictures; null is not taken for one."""
    count = options.get("num_outputs_per_prompt", 1)
    if not isinstance(count, int | float):
        kind = type(count).__name__
        raise TypeError(f"'>' not supported between instances of '{kind}' and 'int'")
    if isinstance(count, float) and count > 0:
        raise TypeError(
            "repeat(): argument 'repeats' failed to unpack the object at pos 2 "
            'with error "type must be tuple of ints,but got float"'
        )
    return int(count) or 1


def _size(options: Mapping[str, object]) -> tuple[int | None, int | None]:
    """Width and height; from a size only where one of them is missing, and from a readable one."""
    size, sides = options.get("size"), (options.get("width"), options.get("height"))
    if isinstance(size, str) and "x" in size.lower() and None in sides:
        try:
            first, second = map(int, size.lower().split("x"))
        except ValueError:
            pass
        else:
            return first, second
    return _side(options, "width"), _side(options, "height")


def _side(options: Mapping[str, object], name: str) -> int | None:
    """A side in pixels, for 0 the default; what is no number fails where its remainder is taken."""
    side = options.get(name)
    if isinstance(side, str):
        raise TypeError("not all arguments converted during string formatting")
    if side is not None and not isinstance(side, int | float):
        raise TypeError(f"unsupported operand type(s) for %: '{type(side).__name__}' and 'int'")
    return int(side) if side else None


def _seed(options: Mapping[str, object]) -> int | None:
    seed = options.get("seed")
    if seed is not None and type(seed) is not int:
        raise TypeError(f"manual_seed expected a long, but got {type(seed).__name__}")
    return seed


def _whole(options: Mapping[str, object], name: str) -> int | None:
    value = _number(options, name)
    return None if value is None else int(value)


def _number(
    options: Mapping[str, object], name: str, *, compared: tuple[str, str] = ("'<='", "int")
) -> float | None:
    """A number; what is none fails where the server first compares it."""
    value = options.get(name)
    if isinstance(value, int) and value >= _UINT64_LIMIT:
        raise OverflowError("int too big to convert")
    if value is None or isinstance(value, int | float):
        return value
    operator, other = compared
    raise TypeError(f"{operator} not supported between instances of '{type(value).__name__}' and '{other}'")


def _adapter(lora: object) -> Adapter | None:
    """The adapter; one that is not whole is passed over."""
    try:
        return check_lora(lora) if isinstance(lora, dict) and lora else None  # pyright: ignore[reportUnknownArgumentType] - JSON
    except (ValueError, TypeError, OverflowError):
        return None


Content = Sequence[Mapping[str, object]]


def content(finished: Finished[Pictures], *, submit_seconds: float, release: Release) -> Content:
    """The pictures, as the content of a message.

    Args:
        finished: What came of the work.
        submit_seconds: From the request's arrival until it entered the queue.
        release: Which fields there are.
    """
    durations = {
        "queue_wait_ms": submit_seconds * 1000,
        "stage_0_gen_ms": finished.generation_seconds * 1000,
    }
    told: Mapping[str, object] = (
        {"stage_durations": durations, "peak_memory_mb": finished.peak_memory_mib}
        if release.chat_options != "nested"
        else {}
    )
    return [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{b64encode(picture).decode()}"},
            **told,
        }
        for picture in finished.value
    ]


def completion(
    contents: Sequence[Content], *, model: str, prompt_words: int, batch: bool
) -> Mapping[str, object]:
    """The answer to one conversation, or to several: one choice for each."""
    nothing = (
        "prompt_logprobs",
        "prompt_token_ids",
        "prompt_text",
        "kv_transfer_params",
        "ec_transfer_params",
    )
    return {
        "id": f"chatcmpl-{'batch-' if batch else ''}{uuid.uuid4().hex[:16]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(index, each) for index, each in enumerate(contents)],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {
            "prompt_tokens": prompt_words,
            "total_tokens": prompt_words + len(contents),
            "completion_tokens": len(contents),
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
        **dict.fromkeys(nothing),
        "metrics": None,
    }


def _choice(index: int, shown: Content) -> Mapping[str, object]:
    nothing = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    return {
        "index": index,
        "message": {"role": "assistant", "content": shown, **nothing},
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }
