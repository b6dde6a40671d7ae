import pytest
from vllm_omni_client.simulator.engine.model_rules import GuidanceRule, WorkerError, rules_for


@pytest.mark.parametrize(
    ("model", "pipeline", "linear_seconds"),
    [
        ("black-forest-labs/FLUX.2-klein-4B", "Flux2KleinPipeline", 0.07),
        ("black-forest-labs/FLUX.2-klein-9B", "Flux2KleinPipeline", 0.15),
        ("/models/FLUX.2-Klein-9B-fp8/", "Flux2KleinPipeline", 0.15),
        ("C:\\models\\Qwen-Image-2512", "QwenImagePipeline", 0.092),
        ("Qwen/Qwen-Image", "QwenImagePipeline", 0.092),
        ("Tongyi-MAI/Z-Image-Turbo", "ZImagePipeline", 0.055),
        ("qwen/other", "OtherPipeline", 0.07),
    ],
)
def test_the_rules_follow_the_last_part_of_the_model_name(
    model: str, pipeline: str, linear_seconds: float
) -> None:
    family = rules_for(model).family
    assert (family.pipeline, family.linear_seconds) == (pipeline, linear_seconds)


@pytest.mark.parametrize(
    ("model", "pixels", "steps", "guided", "published"),
    [
        ("FLUX.2-klein-4B", 1024 * 1024, 4, False, 0.57),
        ("Qwen-Image", 512 * 512, 20, True, 2.41),
        ("Qwen-Image", 1536 * 1536, 35, True, 23.6),
        ("Z-Image-Turbo", 1024 * 1024, 8, False, 0.77),
    ],
)
def test_an_image_takes_about_the_published_time(
    model: str, pixels: int, steps: int, *, guided: bool, published: float
) -> None:
    seconds = rules_for(model).seconds(pixels=pixels, steps=steps, guided=guided, n=1)
    assert seconds == pytest.approx(published, rel=0.15)


def test_more_pixels_steps_and_images_take_longer() -> None:
    rules = rules_for("FLUX.2-klein-4B")
    one = rules.seconds(pixels=1024 * 1024, steps=4, guided=False, n=1)
    assert one < rules.seconds(pixels=1024 * 1024, steps=5, guided=False, n=1)
    assert one < rules.seconds(pixels=1024 * 1024, steps=4, guided=True, n=1)
    assert 4 * one < rules.seconds(pixels=2048 * 2048, steps=4, guided=False, n=1)
    assert one < rules.seconds(pixels=1024 * 1024, steps=4, guided=False, n=2) < 2 * one


def test_memory_is_that_of_the_model_and_of_the_images() -> None:
    rules = rules_for("FLUX.2-klein-4B")
    assert rules.gib(pixels=0) == 14.9
    assert rules.gib(pixels=3 * 1024 * 1024) == pytest.approx(20.9)


def test_klein_reads_guidance_above_one_and_no_negative_prompt() -> None:
    rules = rules_for("klein")
    assert rules.guidance(guidance_scale=None, true_cfg_scale=9.0, negative_prompt="a") is None
    assert rules.guidance(guidance_scale=1.0, true_cfg_scale=9.0, negative_prompt="a") is None
    assert rules.guidance(guidance_scale=1.5, true_cfg_scale=9.0, negative_prompt="a") == GuidanceRule(
        scale=1.5, negative_prompt=""
    )


def test_z_image_runs_guided_unless_requested_otherwise() -> None:
    rules = rules_for("z-image")
    assert rules.guidance(guidance_scale=0.0, true_cfg_scale=None, negative_prompt="a") is None
    assert rules.guidance(guidance_scale=None, true_cfg_scale=None, negative_prompt="a") == GuidanceRule(
        scale=1.0, negative_prompt="a"
    )


def test_qwen_image_needs_true_cfg_scale_and_a_negative_prompt_for_guidance() -> None:
    rules = rules_for("qwen-image")
    assert rules.guidance(guidance_scale=9.0, true_cfg_scale=4.0, negative_prompt=None) is None
    assert rules.guidance(guidance_scale=9.0, true_cfg_scale=1.0, negative_prompt="") is None
    assert rules.guidance(guidance_scale=9.0, true_cfg_scale=0.0, negative_prompt="") == GuidanceRule(
        scale=4.0, negative_prompt=""
    )


def test_an_omitted_size_is_1024() -> None:
    assert rules_for("klein").size(None, None) == (1024, 1024)


def test_z_image_names_the_side_that_is_not_a_multiple() -> None:
    with pytest.raises(WorkerError, match=r"Height must be divisible by 16 \(got 1000\)"):
        rules_for("z-image").size(1001, 1000)
    with pytest.raises(WorkerError, match=r"Width must be divisible by 16 \(got 1001\)"):
        rules_for("z-image").size(1001, 1008)


def test_a_long_prompt_is_cut_between_characters() -> None:
    rules = rules_for("klein")
    cut = rules.prompt("狐" * 5000)
    assert cut == "狐" * (512 * 4 // 3)
    assert rules.prompt(cut + "狸") == cut


def test_every_number_of_the_models_has_its_source() -> None:
    for model in ("klein-9b", "klein", "qwen", "z-image", "other"):
        assert set(rules_for(model).family.sources) == {
            *("linear_seconds", "launch_seconds", "resident_gib", "prompt_tokens")
        }
