"""The public names: each is imported when it is first used, and completes with Tab before."""

import subprocess
import sys

import vllm_image_core


def test_all_public_names_complete_with_tab_before_they_are_imported() -> None:
    code = "import vllm_image_core as core; print(set(core.__all__) - set(dir(core)), '__all__' in dir(core))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.split() == ["set()", "True"]


def test_every_public_name_can_be_imported() -> None:
    assert [name for name in vllm_image_core.__all__ if getattr(vllm_image_core, name, None) is None] == []


def test_the_error_of_a_request_on_which_engines_die_is_public() -> None:
    from vllm_image_core import PoisonRequest  # noqa: PLC0415 - this line is what is tested

    assert issubclass(PoisonRequest, vllm_image_core.ImageError)
