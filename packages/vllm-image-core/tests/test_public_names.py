"""The public names: each is imported when it is first used, and completes with Tab before."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import get_type_hints

import PIL.Image
import vllm_image_core
from type_hints import classes_in


def test_all_public_names_complete_with_tab_before_they_are_imported() -> None:
    code = "import vllm_image_core as core; print(set(core.__all__) - set(dir(core)), '__all__' in dir(core))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.split() == ["set()", "True"]


def test_importing_the_package_imports_nothing_slow() -> None:
    slow = {"pydantic", "PIL", "asyncio", "httpx", "tenacity", "numpy", "pandas", "polars", "tqdm"}
    code = (
        f"import sys, vllm_image_core; print(sorted({slow!r} & {{*sys.modules}}));"
        f"vllm_image_core.Studio; print(sorted(({slow!r} - {{'pydantic', 'asyncio'}}) & {{*sys.modules}}))"
    )
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert imported.splitlines() == ["[]", "[]"]


def test_every_public_name_can_be_imported() -> None:
    assert [name for name in vllm_image_core.__all__ if getattr(vllm_image_core, name, None) is None] == []


def test_the_error_of_a_request_that_kills_engines_is_public() -> None:
    from vllm_image_core import PoisonRequest  # noqa: PLC0415 - this line is what is tested

    assert issubclass(PoisonRequest, vllm_image_core.ImageError)


# Names that the modules import for type checkers alone.
_NAMES = {"Image": PIL.Image}

# A studio makes its batches itself; callers do not.
_CONSTRUCTORS = {vllm_image_core.Studio: {"__init__"}, vllm_image_core.ImageBatch: set[str]()}


def test_every_type_that_a_studio_or_a_batch_takes_or_returns_is_public() -> None:
    public = {id(getattr(vllm_image_core, name)) for name in vllm_image_core.__all__}
    used = {
        each
        for owner in _CONSTRUCTORS
        for function in _public_functions(owner)
        for hint in get_type_hints(function, localns=_NAMES).values()
        for each in classes_in(hint)
    }
    assert sorted(each.__qualname__ for each in used if id(each) not in public) == []


def _public_functions(owner: type) -> Iterator[Callable[..., object]]:
    for name, member in inspect.getmembers(owner):
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function) and (name in _CONSTRUCTORS[owner] or not name.startswith("_")):
            yield function


def test_dir_shows_the_public_names_and_nothing_else_without_underscores() -> None:
    assert [name for name in dir(vllm_image_core) if not name.startswith("_")] == sorted(
        vllm_image_core.__all__
    )
