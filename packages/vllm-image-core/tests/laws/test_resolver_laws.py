"""What holds for every request and every profile."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.size import Size, shrink_to_pixels
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.quality import Quality
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.receipt import receipt
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_omni_client.models import ImageGenerationRequest

REGISTRY = Registry.builtin()
PROFILES = (*REGISTRY.profiles, REGISTRY.fallback)

profiles = st.sampled_from(PROFILES)
texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40)
anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5)
)


def pictures_for(profile: Profile) -> int:
    """As many input images as a request to this model needs."""
    return 0 if profile.text_to_image else 1


@st.composite
def sizes(draw: st.DrawFn, profile: Profile) -> tuple[int | None, int | None]:
    """A width and a height, each perhaps left out, that the model may well make."""
    if profile.size_rule == "listed":
        size = draw(st.sampled_from(sorted(profile.supported_aspect_ratios.values())))
        return draw(st.sampled_from([(size.width, size.height), (None, None)]))
    lengths = (
        st.none()
        | st.integers(1, 4000 // profile.resolution_multiple).map(
            lambda count: profile.resolution_multiple * count
        )
        | st.sampled_from([16, 32, 62_496, 99_984, 100_000, 250_000])
    )
    return draw(lengths), draw(lengths)


@st.composite
def requests(draw: st.DrawFn, among: Sequence[Profile] = PROFILES) -> tuple[Profile, ImageRequest]:
    """A request that may well be refused for its size, but for nothing else."""
    profile = draw(st.sampled_from(among))
    ratios = st.sampled_from(sorted(profile.supported_aspect_ratios))
    width, height = draw(sizes(profile))
    return profile, ImageRequest(
        prompt=draw(texts.filter(str.strip)),
        negative_prompt=draw(st.none() | texts),
        width=width,
        height=height,
        aspect_ratio=draw(st.none() | ratios),
        num_inference_steps=draw(st.none() | st.integers(1, 200)),
        guidance_scale=draw(st.none() | st.floats(0, 20)),
        seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        quality=draw(st.none() | st.sampled_from(get_args(Quality))),
    )


def resolved(profile: Profile, request: ImageRequest) -> ResolvedRequest:
    try:
        return resolve(request, profile, draw_seed=lambda: 7, input_images=pictures_for(profile))
    except InvalidRequest as error:
        assume(error.parameter not in {"width", "height"})
        raise


@given(requests())
def test_resolving_what_was_resolved_changes_nothing(case: tuple[Profile, ImageRequest]) -> None:
    profile, request = case
    once = resolved(profile, request)
    twice = resolve(once.as_request(), profile, draw_seed=lambda: 8, input_images=pictures_for(profile))
    assert replace(twice, quality=None, notes=()) == replace(once, quality=None, notes=())


@given(requests())
def test_nothing_ever_exceeds_a_limit(case: tuple[Profile, ImageRequest]) -> None:
    profile, request = case
    result = resolved(profile, request)
    multiple = profile.resolution_multiple
    assert result.width >= multiple
    assert result.height >= multiple
    assert result.width % multiple == result.height % multiple == 0
    assert result.size.pixels <= profile.max_resolution_mp * 1e6
    assert 1 <= result.num_inference_steps <= 200
    assert 0 <= result.sent_guidance <= 20
    assert result.negative_prompt is None or profile.supports_negative_prompt


@given(requests())
def test_the_request_model_of_the_server_accepts_what_is_resolved(
    case: tuple[Profile, ImageRequest],
) -> None:
    result = resolved(*case)
    wire = result.to_wire()
    assert ImageGenerationRequest.model_validate_json(wire.to_json()) == wire
    assert wire.num_inference_steps is not None
    assert wire.seed is not None
    told = (wire.guidance_scale, wire.true_cfg_scale, wire.extra_params)
    assert sum(value is not None for value in told) == 1


@given(requests())
def test_what_the_caller_gave_is_kept(case: tuple[Profile, ImageRequest]) -> None:
    profile, request = case
    result = resolved(profile, request)
    assert result.prompt == request.prompt
    assert request.num_inference_steps in {None, result.num_inference_steps}
    assert request.seed in {None, result.seed}
    if request.guidance_scale is not None and (profile.type == "standard" or result.guided):
        assert result.guidance_scale == request.guidance_scale
    if request.aspect_ratio is None:
        assert request.width in {None, result.width}
        assert request.height in {None, result.height}


@given(requests())
def test_guidance_that_is_not_sent_is_reported_and_would_cost_a_distilled_model_a_second_pass(
    case: tuple[Profile, ImageRequest],
) -> None:
    profile, request = case
    result = resolved(profile, request)
    if request.guidance_scale not in {None, result.guidance_scale}:
        assert profile.type == "distilled"
        assert profile.is_guided(float(request.guidance_scale or 0))
        assert not result.guided
        assert "guidance_scale" in {note.parameter for note in result.notes}


@given(requests())
def test_a_quality_never_overrides_what_the_caller_gave(case: tuple[Profile, ImageRequest]) -> None:
    profile, request = case
    result, plain = resolved(profile, request), resolved(profile, replace(request, quality=None))
    for asked, name in (
        (request.num_inference_steps, "num_inference_steps"),
        (request.guidance_scale, "guidance_scale"),
        (request.aspect_ratio or request.width or request.height, "size"),
    ):
        if asked is not None:
            assert getattr(result, name) == getattr(plain, name)


@given(requests())
def test_a_receipt_lists_every_value_that_differs_from_the_request(
    case: tuple[Profile, ImageRequest],
) -> None:
    profile, request = case
    result = resolved(profile, request)
    lines = {line.parameter: line for line in receipt(request, result).lines}
    wire = result.to_wire()
    assert lines["prompt"].sent == wire.prompt
    assert lines["negative_prompt"].sent == wire.negative_prompt
    assert f"{lines['width'].sent}x{lines['height'].sent}" == wire.size
    assert lines["num_inference_steps"].sent == wire.num_inference_steps
    assert lines["seed"].sent == wire.seed
    guidance = lines["guidance_scale"]
    within, _, name = (guidance.sent_as or "guidance_scale").partition(".")
    sent = getattr(wire, within)
    assert guidance.sent == (sent[name] if name else sent)
    for line in lines.values():
        if line.outcome == "as asked" and line.sent_as != "size" and line.sent is not None:
            assert line.sent == line.requested or not str(line.requested).strip()
        if line.outcome in {"filled in", "drawn"}:
            assert line.requested is None
        if line.outcome in {"changed", "dropped"}:
            assert line.why


@given(requests(among=[profile for profile in PROFILES if profile.guidance_field == "true_cfg_scale"]))
def test_guidance_runs_on_qwen_image_only_with_a_negative_prompt(
    case: tuple[Profile, ImageRequest],
) -> None:
    profile, request = case
    result = resolved(profile, request)
    assert result.guided == (result.sent_guidance > 1)
    assert result.sent_guidance >= 1  # 0 would count as left out
    assert not result.guided or result.negative_prompt


@pytest.mark.parametrize(
    ("profile", "ratio"),
    [(profile, ratio) for profile in PROFILES for ratio in profile.supported_aspect_ratios],
    ids=lambda value: value.model if isinstance(value, Profile) else value,
)
def test_an_aspect_ratio_is_met_within_3_percent(profile: Profile, ratio: str) -> None:
    result = resolved(profile, ImageRequest(prompt="a fox", aspect_ratio=ratio))
    wide, high = map(int, ratio.split(":"))
    assert abs(result.size.aspect / (wide / high) - 1) <= 0.03


@given(
    profile=profiles,
    values=st.fixed_dictionaries(
        dict.fromkeys(
            ("width", "height", "aspect_ratio", "num_inference_steps", "guidance_scale", "seed", "quality"),
            anything,
        )
    ),
    prompt=st.text() | anything,
)
def test_any_value_is_resolved_or_refused_by_name(
    profile: Profile, values: dict[str, object], prompt: object
) -> None:
    request = ImageRequest(prompt=prompt, **values)  # type: ignore[arg-type] -- the point of the test
    error = None
    try:
        resolve(request, profile, draw_seed=lambda: 7, input_images=pictures_for(profile)).to_wire()
    except InvalidRequest as caught:
        error = caught
    if error:
        assert error.parameter in {"prompt", *values}
        assert error.message.isprintable()
        assert len(error.message) < 500


@given(profile=profiles, width=st.integers(1, 10**6), height=st.integers(1, 10**6))
def test_the_size_that_a_refusal_suggests_is_accepted(profile: Profile, width: int, height: int) -> None:
    error: InvalidRequest | None = None
    for _ in range(2):  # refused once, and what was named is taken
        try:
            resolve(
                ImageRequest(prompt="a fox", width=width, height=height),
                profile,
                draw_seed=lambda: 7,
                input_images=pictures_for(profile),
            )
        except InvalidRequest as caught:
            error = caught
            told = named_in(error)
            width, height = told.get("width", width), told.get("height", height)
        else:
            return
    pytest.fail(f"still refused at {width}x{height}: {error}")


@given(profile=profiles, side=st.sampled_from(["width", "height"]), length=st.integers(-9, 10**6))
def test_the_side_that_a_refusal_suggests_is_accepted(profile: Profile, side: str, length: int) -> None:
    error: InvalidRequest | None = None
    for _ in range(2):
        asked = {side: length} if error is None else named_in(error)
        try:
            resolve(
                ImageRequest(prompt="a fox", **asked),  # type: ignore[arg-type] -- only sides
                profile,
                draw_seed=lambda: 7,
                input_images=pictures_for(profile),
            )
        except InvalidRequest as caught:
            error = caught
        else:
            return
    pytest.fail(f"still refused: {error}")


def named_in(error: InvalidRequest) -> dict[str, int]:
    """The sides that the next step names."""
    return {side: int(length) for side, length in re.findall(r"(width|height)=(\d+)", error.next_step)}


@given(profile=profiles, wide=st.integers(1, 200), high=st.integers(1, 200))
def test_a_refused_aspect_ratio_comes_with_a_size_of_that_shape(
    profile: Profile, wide: int, high: int
) -> None:
    request = ImageRequest(prompt="a fox", aspect_ratio=f"{wide}:{high}")
    named: dict[str, int] = {}
    try:
        resolved(profile, request)
    except InvalidRequest as error:
        named = named_in(error)
    if named:
        size = resolved(
            profile, ImageRequest(prompt="a fox", width=named["width"], height=named["height"])
        ).size
        assert abs(size.aspect / (wide / high) - 1) <= 0.03
        assert size.pixels <= profile.default_size.pixels


@given(
    width=st.integers(1, 10**12), height=st.integers(1, 10**12), multiple=st.sampled_from([1, 8, 16, 32, 64])
)
def test_a_shrunk_size_fits_and_keeps_its_shape_within_one_multiple(
    width: int, height: int, multiple: int
) -> None:
    limit = 4_000_000
    assume(width * height > limit)
    small = shrink_to_pixels(Size(width, height), multiple=multiple, max_pixels=limit)
    assert small.width % multiple == small.height % multiple == 0
    assert min(small.width, small.height) >= multiple
    assert small.pixels <= limit
    short, long = sorted((small.width, small.height))
    if short > multiple:
        assert abs(long - short * max(width, height) / min(width, height)) <= multiple
