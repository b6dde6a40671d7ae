"""Wrong inputs, each by its id in the list of faults; those of MCP arguments are tested beside the tools."""

import json
import math
import re
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from vllm_image_core.batches.worker_pool import Done, running
from vllm_image_core.errors import ImageError, InvalidRequest
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.storage.filename import automatic_stem

KLEIN = Registry.builtin().find("FLUX.2-klein-4B").profile


def resolved(**asked: object) -> ResolvedRequest:
    request = ImageRequest(**{"prompt": "a red fox", "seed": 7, **asked})  # type: ignore[arg-type] -- from outside
    return resolve(request, KLEIN, draw_seed=lambda: 42)


def refused(**asked: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        resolved(**asked)
    assert len(caught.value.message) < 300
    return caught.value


@pytest.mark.parametrize("prompt", ["", "   \n", "x" * 20_001, "x" * 1_000_000], ids=len)
def test_i01_a_prompt_outside_of_the_limits_is_refused_with_the_limit(prompt: str) -> None:
    error = refused(prompt=prompt)
    assert error.allowed in {"text of 1 to 20000 characters", "text of at most 20000 characters"}
    assert "xxx" not in error.message


@pytest.mark.parametrize("prompt", ["x", "x" * 10_000])
def test_i01_a_prompt_within_the_limits_is_sent_whole(prompt: str) -> None:
    assert resolved(prompt=prompt).to_wire().prompt == prompt


@pytest.mark.parametrize("stray", ["\x00", "\x1b[31m", "\x9b", "\ud800"], ids=ascii)
def test_i02_a_character_that_is_no_text_is_refused_and_not_repeated(stray: str) -> None:
    error = refused(prompt=f"a fox{stray}")
    assert error.message.isprintable()
    assert f"U+{ord(stray[0]):04X} at 5" in error.message


@pytest.mark.parametrize(
    "prompt", ["cafe\u0301", "a \u202efox\u202c", "\U0001f468\u200d\U0001f469\u200d\U0001f467"]
)
def test_i02_unusual_text_reaches_the_model_as_it_was_given_and_never_a_file_name(prompt: str) -> None:
    assert json.loads(resolved(prompt=prompt).to_wire().to_json())["prompt"] == prompt
    assert re.fullmatch("[a-z0-9_]+", automatic_stem(prompt, datetime(2026, 2, 18, tzinfo=UTC)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "inf"])
def test_i03_guidance_that_is_no_finite_number_is_refused_first(value: object) -> None:
    assert refused(guidance_scale=value, prompt="a fox").parameter == "guidance_scale"


@pytest.mark.parametrize("value", [True, "7", 7.0])
def test_i04_a_seed_that_only_looks_like_an_integer_is_refused(value: object) -> None:
    assert refused(seed=value).parameter == "seed"


@pytest.mark.parametrize("value", [2**63, 2**70, -(2**63) - 1])
def test_i05_a_seed_beyond_64_bits_is_refused_with_the_range_that_is_best(value: int) -> None:
    assert "preferably from 0 to 4294967295" in refused(seed=value).allowed


@pytest.mark.parametrize("value", [-(2**63), -1, 0, 2**32, 2**63 - 1])
def test_i05_every_seed_of_64_bits_is_sent_as_it_is(value: int) -> None:
    assert resolved(seed=value).to_wire().seed == value


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("num_inference_steps", 0),
        ("num_inference_steps", 201),
        ("guidance_scale", -1),
        ("guidance_scale", 20.1),
    ],
)
def test_i06_what_the_server_would_refuse_is_refused_here_with_the_bounds(
    parameter: str, value: object
) -> None:
    """A number of pictures per request is none of a caller's parameters: one is sent for each picture."""
    error = refused(**{parameter: value})
    assert (error.parameter, error.allowed) == (
        parameter,
        "an integer from 1 to 200" if parameter == "num_inference_steps" else "a number from 0 to 20",
    )


@pytest.mark.parametrize("ratio", ["0x0", "1024X1024:1", "1e3x1", "1:0"])
def test_i07_a_ratio_that_is_none_is_refused_with_those_that_are(ratio: str) -> None:
    assert "16:9 (1024x576)" in refused(aspect_ratio=ratio).allowed


@pytest.mark.parametrize(
    ("width", "height", "next_step"),
    [
        (1000, 1024, "Give width=1008."),
        (1024, 8, "Give height=16."),
        (10**9, 16, "Give width=99984 and height=16."),
    ],
)
def test_i07_a_size_that_no_model_makes_is_refused_with_the_nearest_legal_one(
    width: int, height: int, next_step: str
) -> None:
    assert refused(width=width, height=height).next_step == next_step


async def test_i08_ten_thousand_prompts_need_no_more_memory_than_a_few() -> None:
    pulled = 0

    def prompts() -> Iterator[str]:
        nonlocal pulled
        for number in range(10_000):
            pulled = number + 1
            yield f"a fox, number {number}, " + "x" * 1_000

    async def made(prompt: str) -> int:
        return len(prompt)

    tracemalloc.start()
    try:
        async with running(made, prompts(), at_once=2, expected=(ImageError,)) as outcomes:
            async for outcome in outcomes:
                assert isinstance(outcome, Done)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pulled == 10_000
    assert peak < 8_000_000


async def test_i08_the_first_of_a_million_prompts_starts_at_once() -> None:
    pulled = 0

    def prompts() -> Iterator[str]:
        nonlocal pulled
        for number in range(1_000_000):
            pulled = number + 1
            yield f"a fox, number {number}"

    async def made(prompt: str) -> str:
        return prompt

    started = time.perf_counter()
    async with running(made, prompts(), at_once=2, expected=(ImageError,)) as outcomes:
        async for outcome in outcomes:
            assert isinstance(outcome, Done)
            break
    assert time.perf_counter() - started < 1
    assert pulled < 100


def test_i11_a_parameter_that_a_request_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="steps"):
        ImageRequest(prompt="a fox", steps=4)  # type: ignore[call-arg] -- the point of the test
