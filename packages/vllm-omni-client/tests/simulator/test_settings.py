import pytest
from pydantic import ValidationError
from vllm_omni_client.simulator import SimulatorSettings, create_app


def test_the_defaults_are_those_of_the_real_server() -> None:
    assert SimulatorSettings().model_dump() == {
        "model": "black-forest-labs/FLUX.2-klein-4B",
        "served_model_name": None,
        "api_key": None,
        "server_version": "0.30.0",
        "max_num_seqs": 1,
        "max_generated_image_size": 33177600,
        "speed": 0.0,
        "vram_gib": 32.0,
        "lora_paths": (),
        "startup_seconds": 0.0,
        "faults": (),
        "fault_seed": 0,
        "control": False,
    }


def test_a_model_is_served_under_its_own_name_or_under_those_given() -> None:
    assert SimulatorSettings(model="a/b").served_names == ("a/b",)
    assert SimulatorSettings(served_model_name="one").served_names == ("one",)
    assert SimulatorSettings(served_model_name=("one", "two")).served_names == ("one", "two")


def test_the_key_is_in_no_repr() -> None:
    assert "secret-key" not in repr(SimulatorSettings(api_key="secret-key"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""},
        {"max_num_seqs": 0},
        {"max_generated_image_size": 0},
        {"speed": -1.0},
        {"speed": float("inf")},
        {"vram_gib": -1.0},
        {"vram_gib": float("nan")},
        {"api_key": ""},
        {"no_such_option": 1},
    ],
)
def test_a_value_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SimulatorSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("model", "pipeline"),
    [
        ("black-forest-labs/FLUX.2-klein-4B", "Flux2KleinPipeline"),
        ("Tongyi-MAI/Z-Image-Turbo", "ZImagePipeline"),
        ("someone/unknown", "OtherPipeline"),
    ],
)
def test_a_model_that_cannot_batch_is_not_started_for_batches(model: str, pipeline: str) -> None:
    with pytest.raises(ValueError, match=f"'{pipeline}' does not support request-level batching"):
        create_app(SimulatorSettings(model=model, max_num_seqs=2))


def test_a_model_that_can_batch_is_started_for_batches() -> None:
    create_app(SimulatorSettings(model="Qwen/Qwen-Image", max_num_seqs=4))
