"""POST /v1/chat/completions: a picture as the answer in a conversation."""

import time
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from vllm_omni_client.simulator.chat_numbers import ChatNumbers
from vllm_omni_client.simulator.chat_request import ChatRequest
from vllm_omni_client.simulator.engine import Finished
from vllm_omni_client.simulator.generation_request import check_layers, check_lora
from vllm_omni_client.simulator.model_rules import ModelRules
from vllm_omni_client.simulator.order import Pictures
from vllm_omni_client.simulator.refusal import Refusal
from vllm_omni_client.simulator.release import Release
from vllm_omni_client.simulator.wish import Adapter, Wish, failure, told_by_engine

ROUTE: Final = "Image generation"
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
        options = request.options(release)
        _check_layers(options.get("layers"), release)
        if release.empty_numbers_are_none:
            options = {name: value for name, value in options.items() if value not in ("", [], {})}
        return _wish(request, options, ChatNumbers(options, rules), release)
    except (TypeError, OverflowError) as error:
        raise failure(ROUTE, told_by_engine(error, "chatcmpl", release), kind=KIND) from error
    except AttributeError as error:
        raise failure(ROUTE, error, kind=KIND) from error
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, str(error), kind=KIND) from error


def _wish(
    request: ChatRequest, options: Mapping[str, object], numbers: ChatNumbers, release: Release
) -> Wish:
    numbers.check()
    prompt = request.prompt()
    if not prompt and release.chat_options == "nested":
        raise ValueError("No text prompt found in messages")
    width, height = numbers.size
    negative = options.get("negative_prompt")
    seed = numbers.seed
    return Wish(
        route=ROUTE,
        error_kind=KIND,
        prompt=prompt,
        negative_prompt=None if negative is None else str(negative),
        n=numbers.count,
        width=width,
        height=height,
        steps=numbers.steps,
        guidance_scale=numbers.guidance_scale,
        true_cfg_scale=numbers.true_cfg_scale,
        seed=request.seed if seed is None and release.chat_options == "both" else seed,
        adapter=_adapter(options.get("lora")),
        pictures=request.pictures(),
        output_format="png",
        output_compression=_PILLOWS_OWN_LEVEL,
    )


def _check_layers(layers: object, release: Release) -> None:
    """Whether there may be so many layers; what is no whole number is refused in the same words."""
    check_layers(layers if type(layers) is int or layers is None else 0, release, shown=layers)


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
    contents: Sequence[Content], *, model: str, prompt_words: int, batch: bool, release: Release
) -> Mapping[str, object]:
    """The answer to one conversation, or to several: one choice for each."""
    nothing = (
        "prompt_logprobs",
        "prompt_token_ids",
        "prompt_text",
        "kv_transfer_params",
        "ec_transfer_params",
    )
    answer: dict[str, object] = {
        "id": f"chatcmpl-{'batch-' if batch else ''}{uuid.uuid4().hex[:16]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(index, each, release) for index, each in enumerate(contents)],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": _known(
            {
                "prompt_tokens": prompt_words,
                "total_tokens": prompt_words + len(contents),
                "completion_tokens": len(contents),
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
            release,
        ),
        **dict.fromkeys(nothing),
        "metrics": None,
    }
    return _known(answer, release)


def _choice(index: int, shown: Content, release: Release) -> Mapping[str, object]:
    calls: dict[str, object] = {"tool_calls": []} if release.chat_reply_lists_tools else {}
    message = {
        "role": "assistant",
        "content": shown,
        **dict.fromkeys(("refusal", "annotations", "audio", "function_call")),
        **calls,
        "reasoning": None,
    }
    choice = {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }
    return _known(choice, release)


def _known(answer: Mapping[str, object], release: Release) -> dict[str, object]:
    """What a release has of an answer."""
    return {name: value for name, value in answer.items() if name not in release.chat_reply_lacks}
