"""Resolved edits: what each model reads of an edit, and what is refused before anything is sent."""

import io
import math
from typing import Any

import pytest
from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_receipt import edit_receipt
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit, resolve_edit

REGISTRY = Registry.builtin()
KLEIN = "black-forest-labs/FLUX.2-klein-4B"
EDIT = "Qwen/Qwen-Image-Edit-2511"
LAYERED = "Qwen/Qwen-Image-Layered"
Z_IMAGE = "Tongyi-MAI/Z-Image-Turbo"


def png(width: int = 256, height: int = 128) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def resolved(model: str = KLEIN, **asked: object) -> ResolvedEdit:
    values: dict[str, Any] = {"prompt": "make it night", "images": png(), **asked}
    request = EditRequest(**values)
    return resolve_edit(request, REGISTRY.find(model).profile, draw_seed=lambda: 42, known=REGISTRY)


def refused(model: str = KLEIN, **asked: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        resolved(model, **asked)
    return caught.value


def sent(edit: ResolvedEdit) -> dict[str, str]:
    return dict(edit.to_edit().to_form())


def test_an_edit_is_sent_with_every_value_that_shapes_the_image() -> None:
    assert sent(resolved()) == {
        "prompt": "make it night",
        "n": "1",
        "size": "256x128",
        "response_format": "b64_json",
        "output_format": "png",
        "num_inference_steps": "4",
        "guidance_scale": "1.0",
        "seed": "42",
    }


def test_guidance_goes_where_the_model_reads_it() -> None:
    form = sent(resolved(EDIT))
    assert (form["true_cfg_scale"], form["negative_prompt"]) == ("4.0", " ")
    assert "guidance_scale" not in form


def test_an_edit_reports_that_its_form_lacks_the_field_that_the_model_reads() -> None:
    bagel = "ByteDance-Seed/BAGEL-7B-MoT"
    edit = resolved(bagel, guidance_scale=7)
    assert not {"guidance_scale", "true_cfg_scale", "extra_params"} & sent(edit).keys()
    assert (edit.guidance_scale, edit.guided) == (4.0, True)
    [note] = [note.message for note in edit.notes if note.parameter == "guidance_scale"]
    assert note == (
        f"guidance_scale 7 is not sent: {bagel} reads it from extra_params.cfg_text_scale, which edit "
        "requests do not have. The server uses 4."
    )
    lines = {
        asked: next(
            line
            for line in edit_receipt(
                EditRequest(prompt="make it night", images=png(), guidance_scale=asked),
                resolved(bagel, guidance_scale=asked),
            ).lines
            if line.parameter == "guidance_scale"
        )
        for asked in (None, 4.0, 7.0)
    }
    assert {asked: (line.sent, line.outcome) for asked, line in lines.items()} == {
        None: (None, "filled in"),
        4.0: (None, "as asked"),
        7.0: (None, "dropped"),
    }
    assert all(line.why for line in lines.values())


def test_an_edit_of_a_wide_image_keeps_within_the_longest_side_of_the_model() -> None:
    wide = resolved("ByteDance-Seed/BAGEL-7B-MoT", images=[png(2000, 400)])
    assert (wide.width, wide.height) == (1024, 208)
    assert "generates at most 1024 pixels per side" in wide.notes[0].message
    one = resolved("ByteDance-Seed/BAGEL-7B-MoT", images=[png(2000, 400)], height=512)
    assert (one.width, one.height) == (1024, 512)


@pytest.mark.parametrize("model", [profile.model for profile in REGISTRY if profile.max_input_images])
def test_resolving_an_edit_again_changes_nothing_for_any_model(model: str) -> None:
    once = resolved(model)
    again = resolve_edit(once.as_request(), REGISTRY.find(model).profile, draw_seed=lambda: 7, known=REGISTRY)
    assert again.to_edit() == once.to_edit()
    assert again.inputs == once.inputs


# Who can edit


@pytest.mark.parametrize("model", [profile.model for profile in REGISTRY if not profile.max_input_images])
def test_a_model_that_cannot_edit_says_so_and_which_ones_can(model: str) -> None:
    error = refused(model)
    assert error.parameter == "images"
    assert f"{model} does not edit images" in error.message
    assert "black-forest-labs/FLUX.1-Kontext-dev" in error.message


def test_for_an_unknown_model_the_error_says_how_to_make_it_known() -> None:
    error = refused("somebody/something")
    assert "not known" in error.message
    assert "a profile with max_input_images" in error.next_step


def test_too_many_images_are_refused_with_the_models_that_accept_them() -> None:
    error = refused("Qwen/Qwen-Image-Edit", images=[png(), png()])
    assert "edits at most 1 image, not 2" in error.message
    assert KLEIN in error.message
    assert "FLUX.1-Kontext-dev" not in error.message
    assert "5" in refused(images=[png()] * 5).message


@pytest.mark.parametrize("images", [(), []])
def test_an_edit_without_an_image_is_refused(images: object) -> None:
    error = refused(images=images)
    assert error.next_step == "Give the image that you want to change."


def test_of_several_images_the_wrong_one_is_named() -> None:
    assert refused(images=[png(), b"nothing"]).parameter == "images[1]"
    assert "images[1]" in refused(images=[png(), png(1024, 64)]).message


@pytest.mark.parametrize("size", [(63, 256), (256, 63), (1024, 64)])
def test_an_image_that_the_pipeline_would_refuse_is_refused_before_it_is_uploaded(
    size: tuple[int, int],
) -> None:
    assert refused(images=png(*size)).allowed in {
        "at least 64 pixels a side",
        "a longer side of at most 8 times the shorter one",
    }
    assert resolved(EDIT, images=png(*size)).inputs.images[0].picture.width == size[0]


# Mask, reference image, strength


def test_a_mask_goes_only_to_a_model_that_inpaints() -> None:
    assert resolved(mask=png()).strength == 1.0
    error = refused(EDIT, mask=png())
    assert error.parameter == "mask"
    assert "would ignore it" in error.message
    assert KLEIN in error.message
    assert refused(EDIT, reference_image=png()).parameter == "reference_image"


def test_a_mask_of_another_shape_is_reported() -> None:
    assert [note.parameter for note in resolved(mask=png(128, 64)).notes] == []
    assert [note.parameter for note in resolved(mask=png(128, 128)).notes] == ["mask"]


@pytest.mark.parametrize(
    ("model", "asked", "strength", "notes"),
    [
        (KLEIN, {"strength": 0.5, "mask": png()}, 0.5, 0),
        (KLEIN, {"strength": 0.5, "reference_image": png()}, 0.5, 0),
        (KLEIN, {"strength": 0.5}, None, 1),
        (KLEIN, {}, None, 0),
        (EDIT, {"strength": 0.5}, None, 1),
        (Z_IMAGE, {"strength": 0.5}, 0.5, 0),
        (Z_IMAGE, {}, 0.6, 0),
    ],
)
def test_a_strength_is_sent_if_the_model_reads_it_and_otherwise_dropped_with_a_note(
    model: str, asked: dict[str, Any], strength: float | None, notes: int
) -> None:
    edit = resolved(model, **asked)
    assert edit.strength == strength
    assert sent(edit).get("strength") == (None if strength is None else str(strength))
    assert [note.parameter for note in edit.notes] == ["strength"] * notes


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan, math.inf, True, "0.5", 10**400])
def test_an_invalid_strength_is_refused_by_every_model(strength: object) -> None:
    for model in (KLEIN, EDIT, Z_IMAGE):
        assert refused(model, strength=strength).parameter == "strength"


def test_a_strength_that_leaves_no_steps_is_refused_as_the_pipeline_would_fail() -> None:
    assert "leaves no steps" in refused(Z_IMAGE, strength=0.0).message
    assert resolved(Z_IMAGE, strength=0.001).strength == 0.001


# Layers


def test_a_layered_model_gets_layers_and_a_resolution_instead_of_a_size() -> None:
    form = sent(resolved(LAYERED, layers=3, resolution=1024))
    assert (form["layers"], form["resolution"]) == ("3", "1024")
    assert "size" not in form
    assert str(resolved(LAYERED).size) == "896x448"
    assert (resolved(LAYERED).layers, resolved(LAYERED).resolution) == (4, 640)


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"layers": 1}, "layers"),
        ({"layers": 11}, "layers"),
        ({"layers": True}, "layers"),
        ({"resolution": 800}, "resolution"),
        ({"resolution": 640.0}, "resolution"),
        ({"resolution": "640"}, "resolution"),
        ({"width": 640, "height": 640}, "width"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
    ],
)
def test_what_a_layered_model_cannot_generate_is_refused(asked: dict[str, Any], parameter: str) -> None:
    assert refused(LAYERED, **asked).parameter == parameter


@pytest.mark.parametrize("asked", [{"layers": 4}, {"resolution": 640}])
def test_other_models_have_no_layers_and_name_those_that_have(asked: dict[str, Any]) -> None:
    error = refused(KLEIN, **asked)
    assert error.parameter in asked
    assert LAYERED in error.message
    assert error.next_step.startswith("Leave ")


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"prompt": "  "}, "prompt"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": 21}, "guidance_scale"),
        ({"seed": 2**63}, "seed"),
        ({"width": 1000, "height": 64}, "width"),
        ({"quality": "great"}, "quality"),
        ({"mask": "http://mask"}, "mask"),
    ],
)
def test_an_edit_has_the_bounds_of_a_generation(asked: dict[str, Any], parameter: str) -> None:
    assert refused(**asked).parameter == parameter


@pytest.mark.parametrize(
    ("images", "size", "words"),
    [
        (1, {"width": 64, "height": 48}, "the result has the size of its image, 128x96; 64x48 was asked for"),
        (1, {"width": 128, "height": 128}, "the result has the size of its image, 128x96"),
        (2, {}, "takes a mask with a single image; 2 were given"),
    ],
)
def test_a_mask_that_the_server_could_not_lay_over_its_image_is_refused(
    images: int, size: dict[str, Any], words: str
) -> None:
    given = (png(128, 96), png(96, 96))[:images]
    assert words in refused(images=given, mask=png(128, 96), **size).message


@pytest.mark.parametrize(
    ("width", "height", "size"), [(128, 96, "128x96"), (130, 97, "128x96"), (2048, 1024, "1440x720")]
)
def test_with_a_mask_the_result_has_the_size_to_which_the_server_reduces_the_image(
    width: int, height: int, size: str
) -> None:
    assert str(resolved(images=png(width, height), mask=png(width, height)).size) == size
