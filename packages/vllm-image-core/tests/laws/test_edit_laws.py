"""Laws of edits, for all models that edit: never over a limit, and the same when resolved again."""

import io
from functools import cache

from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit, resolve_edit
from vllm_image_core.requests.input_picture import InputPicture, read_input
from vllm_omni_client.edits import ImageEditRequest

REGISTRY = Registry.builtin()
EDITORS = tuple(profile for profile in REGISTRY if profile.max_input_images)

SIDES = st.sampled_from([1, 15, 16, 63, 64, 100, 257, 640, 1024, 1999, 4032])


@cache
def picture(width: int, height: int) -> InputPicture:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return read_input(file.getvalue(), parameter="images")


pictures = st.builds(picture, SIDES, SIDES)


@st.composite
def edits(draw: st.DrawFn) -> tuple[Profile, EditRequest]:
    profile = draw(st.sampled_from(EDITORS))
    masked = profile.edit_rules.mask and draw(st.booleans())
    side = st.none() | st.integers(1, 200).map(lambda count: profile.resolution_multiple * count)
    sized = not profile.edit_rules.resolutions and not masked
    return profile, EditRequest(
        prompt="make it night",
        images=draw(st.lists(pictures, min_size=1, max_size=1 if masked else profile.max_input_images)),
        mask=draw(pictures) if masked else None,
        strength=draw(st.none() | st.floats(0.01, 1)),
        width=draw(side) if sized else None,
        height=draw(side) if sized else None,
        num_inference_steps=draw(st.none() | st.integers(1, 200)),
        guidance_scale=draw(st.none() | st.floats(0, 20)),
    )


def resolved(profile: Profile, request: EditRequest) -> ResolvedEdit:
    try:
        return resolve_edit(request, profile, draw_seed=lambda: 7, known=REGISTRY)
    except InvalidRequest as error:
        assume(error.parameter.partition("[")[0] not in {"width", "height", "images"})
        raise


@given(edits())
def test_an_edit_never_exceeds_a_limit(case: tuple[Profile, EditRequest]) -> None:
    profile, request = case
    edit = resolved(profile, request)
    if edit.resolution is None:
        assert edit.width % profile.resolution_multiple == edit.height % profile.resolution_multiple == 0
        assert edit.size.pixels <= profile.max_pixels
    assert 1 <= edit.steps_run <= edit.num_inference_steps <= 200
    assert edit.strength is None or profile.edit_rules.strength != "unread"


@given(edits())
def test_an_edit_that_was_resolved_resolves_to_the_same_again(case: tuple[Profile, EditRequest]) -> None:
    once = resolved(*case)
    again = resolve_edit(once.as_request(), case[0], draw_seed=lambda: 8, known=REGISTRY)
    assert again.to_edit() == once.to_edit()
    assert (again.size, again.inputs) == (once.size, once.inputs)


@given(edits())
def test_the_client_accepts_a_resolved_edit(case: tuple[Profile, EditRequest]) -> None:
    sent = resolved(*case).to_edit()
    assert ImageEditRequest.model_validate(sent.model_dump(exclude_none=True)) == sent
    assert sent.num_inference_steps is not None
    assert (sent.size is None) != (sent.resolution is None)
