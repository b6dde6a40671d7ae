"""An id is a pure function of the request, and images spread over folders."""

from collections import Counter
from dataclasses import replace

from vllm_image_core.datasets.job_id import JobId, image_name, job_id, seed_of_row
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

PROFILE = Registry.builtin().find("black-forest-labs/FLUX.2-klein-4B").profile


def resolved(prompt: str = "a fox", *, seed: int, side: int | None = None) -> ResolvedRequest:
    return resolve(
        ImageRequest(prompt=prompt, seed=seed, width=side, height=side), PROFILE, draw_seed=lambda: 7
    )


def test_equal_requests_have_the_same_id_of_16_bytes() -> None:
    assert job_id(resolved(seed=1)) == job_id(resolved(seed=1))
    assert len(job_id(resolved(seed=1))) == 16


def test_everything_that_shapes_an_image_changes_the_id() -> None:
    requests = [
        resolved(seed=1),
        resolved(seed=2),
        resolved("a bear", seed=1),
        resolved(seed=1, side=512),
        replace(resolved(seed=1), model="another"),
    ]

    assert len({job_id(request) for request in requests}) == len(requests)


def test_no_folder_gets_too_many_files() -> None:
    names = [image_name(job_id(resolved(seed=seed)), "png") for seed in range(300)]

    folders = Counter(name.rpartition("/")[0] for name in names)

    assert max(folders.values()) <= 3
    assert all(name.split("/")[0] == "images" for name in names)


def test_ids_spread_evenly_over_65_536_folders_of_10_000_for_650_million_images() -> None:
    every_beginning = (JobId(number.to_bytes(2, "big") + bytes(14)) for number in range(65_536))

    folders = {image_name(key, "png").rpartition("/")[0] for key in every_beginning}

    assert len(folders) == 65_536


def test_the_name_of_an_image_contains_its_id() -> None:
    assert image_name(JobId(bytes(range(16))), "jpg") == "images/00/01/000102030405060708090a0b0c0d0e0f.jpg"


def test_a_row_always_has_the_same_seed() -> None:
    seed = seed_of_row({"prompt": "a fox", "width": 512, "tag": "mine"}, 0)

    assert seed == seed_of_row({"width": 512, "prompt": "a fox"}, 0)
    assert 0 <= seed <= 2**32 - 1
    assert seed != seed_of_row({"width": 512, "prompt": "a fox"}, 1)
    assert seed != seed_of_row({"width": 513, "prompt": "a fox"}, 0)
