"""The classes in type hints."""

from collections.abc import Iterator
from typing import get_args, get_origin


def classes_in(hint: object) -> Iterator[type]:
    """Our own classes in a type hint, at any depth."""
    for part in get_args(hint):
        yield from classes_in(part)
    origin = get_origin(hint) or hint
    if isinstance(origin, type) and origin.__module__.startswith("vllm_image_core"):
        yield origin
