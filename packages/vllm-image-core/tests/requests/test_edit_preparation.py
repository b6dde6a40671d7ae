"""An edit's images are prepared as requested: the mask is drawn, the image extended or enlarged."""

from typing import Any

import pytest
from PIL import Image
from vllm_image_core import EditRequest, InvalidRequest, Profile, Registry, ResolvedEdit, Size
from vllm_image_core.requests.content_hash import content_key
from vllm_image_core.requests.edit_resolver import resolve_edit

KNOWN = Registry.builtin()


def profile(name: str) -> Profile:
    found = KNOWN.by_name(name)
    assert found is not None
    return found


KLEIN = profile("black-forest-labs/FLUX.2-klein-4B")
TURBO = profile("Tongyi-MAI/Z-Image-Turbo")
QWEN = profile("Qwen/Qwen-Image-Edit-2511")


def edit(model: Profile, size: tuple[int, int] = (640, 512), **values: Any) -> ResolvedEdit:  # noqa: ANN401 - of the request
    request = EditRequest(prompt="a fox", images=Image.new("RGB", size, "navy"), **values)
    resolved = resolve_edit(request, model, draw_seed=lambda: 7, known=KNOWN)
    assert resolve_edit(resolved.as_request(), model, draw_seed=lambda: 8, known=KNOWN) == resolved
    return resolved


def mask_of(resolved: ResolvedEdit) -> Image.Image:
    mask = resolved.sent_inputs().mask
    assert mask is not None
    return mask.picture.pil()


def test_a_box_is_sent_as_a_mask_of_the_size_of_the_image() -> None:
    resolved = edit(KLEIN, mask_box=[0.5, 0, 1, 0.5])
    mask = mask_of(resolved)
    assert (mask.size, resolved.size) == ((640, 512), Size(640, 512))
    assert mask.getbbox() == (320, 0, 640, 256)
    assert resolved.strength == 1.0
    assert resolved.inputs.mask is None
    assert resolved.facts()["mask_box"] == ((0.5, 0.0, 1.0, 0.5),)


def test_boxes_and_polygons_are_one_mask() -> None:
    mask = mask_of(edit(KLEIN, mask_box=[0, 0, 64, 64], mask_polygon=[[600, 500], [640, 500], [640, 512]]))
    assert mask.getbbox() == (0, 0, 640, 512)


def test_a_soft_edge_has_little_effect_on_black_and_white_masks_and_a_note_says_so() -> None:
    notes = [str(note) for note in edit(KLEIN, mask_box=[0, 0, 64, 64], mask_feather=8).notes]
    assert notes == [f"mask_feather only rounds the corners: {KLEIN.model} reads a mask as black and white."]


@pytest.mark.parametrize(
    ("ratio", "size"), [("16:9", (912, 512)), ("9:16", (640, 1152)), ("2:1", (1024, 512))]
)
def test_outpaint_extends_the_image_and_masks_what_was_added(ratio: str, size: tuple[int, int]) -> None:
    resolved = edit(KLEIN, outpaint=ratio)
    sent = resolved.sent_inputs()
    assert (resolved.width, resolved.height) == size
    assert sent.images[0].picture.size == resolved.size
    mask = mask_of(resolved)
    assert mask.size == size
    assert mask.getpixel((0, 0)) == 255
    assert mask.getpixel((size[0] // 2, size[1] // 2)) == 0
    left, top = (size[0] - 640) // 2, (size[1] - 512) // 2
    inside = sent.images[0].picture.pil().crop((left, top, left + 640, top + 512))
    assert inside.getcolors() == [(640 * 512, (0, 0, 128))]


def test_an_image_too_large_to_be_masked_is_outpainted_at_a_smaller_size() -> None:
    resolved = edit(KLEIN, size=(2048, 2048), outpaint="16:9")
    assert resolved.size.pixels <= 1_048_576
    assert abs(resolved.size.aspect - 16 / 9) < 0.03
    assert resolved.sent_inputs().images[0].picture.size == resolved.size


def test_upscale_enlarges_the_image_and_keeps_most_of_it() -> None:
    resolved = edit(TURBO, upscale=2)
    assert (resolved.size, resolved.strength) == (Size(1280, 1024), 0.3)
    assert resolved.sent_inputs().images[0].picture.size == Size(1280, 1024)
    assert edit(TURBO, upscale=2, strength=0.5).strength == 0.5


def test_upscale_ends_at_the_limit_of_the_model_with_a_note() -> None:
    resolved = edit(TURBO, upscale=4)
    assert resolved.size.pixels <= TURBO.max_pixels
    assert [note.parameter for note in resolved.notes] == ["upscale"]


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (QWEN, {"mask_box": [0, 0, 1, 1]}, "does not support mask_box and would ignore it. Models that do: "),
        (QWEN, {"outpaint": "16:9"}, "does not support outpaint and would ignore it. Models that do: "),
        (KLEIN, {"upscale": 2}, "Models that do: Tongyi-MAI/Z-Image-Turbo, Tongyi-MAI/Z-Image."),
        (KLEIN, {"outpaint": "5:4"}, "which is 5:4 already"),
        (KLEIN, {"outpaint": "9:1"}, "is not an aspect ratio to extend to"),
        (KLEIN, {"outpaint": 2}, "is not an aspect ratio to extend to"),
        (KLEIN, {"outpaint": "16:9", "width": 512}, "outpaint and width cannot be combined"),
        (KLEIN, {"outpaint": "16:9", "mask_box": [0, 0, 1, 1]}, "outpaint and mask_box cannot be combined"),
        (KLEIN, {"mask_box": [0, 0, 1, 1], "mask": b""}, "mask and mask_box cannot be combined"),
        (KLEIN, {"mask_box": [700, 0, 800, 9]}, "is outside the image, which is 640x512"),
        (KLEIN, {"mask_box": [0, 0, 1, 1], "width": 320}, "has the size of its image"),
        (TURBO, {"upscale": 8}, "8 is out of range. Allowed: a number from 1.1 to 4."),
    ],
)
def test_impossible_preparations_are_refused_with_the_reason(
    model: Profile, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        edit(model, **values)
    assert message in str(caught.value)


def test_another_box_is_another_image() -> None:
    boxes = ([0, 0, 0.5, 1], [0, 0, 0.6, 1])
    keys = {content_key(edit(KLEIN, mask_box=box), model="m", server_version=None) for box in boxes}
    assert len(keys) == 2


def test_the_receipt_says_what_was_drawn() -> None:
    request = EditRequest(prompt="a fox", images=Image.new("RGB", (64, 64)), mask_box=[0, 0, 0.5, 1])
    resolved = resolve_edit(request, KLEIN, draw_seed=lambda: 7)
    line = next(each for each in resolved.receipt(request).lines if each.parameter == "mask_box")
    assert (line.requested, line.sent, line.sent_as) == ("[0, 0, 0.5, 1]", "[[0.0, 0.0, 0.5, 1.0]]", "mask")
