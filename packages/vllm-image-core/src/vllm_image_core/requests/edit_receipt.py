"""Build the receipt of an edit: the lines of a generation plus its input images and edit settings."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.receipt import Line, Receipt, Value, receipt

if TYPE_CHECKING:
    from vllm_image_core.requests.edit_resolver import ResolvedEdit

_SIZE: Final = frozenset({"width", "height"})
_SETTINGS: Final = ("strength", "layers", "resolution")
_SENT_AS: Final = {"outpaint": "images", "upscale": "images"}


def edit_receipt(request: ImageRequest, resolved: "ResolvedEdit") -> Receipt:
    """Compare what was requested with what is sent; `resolved` must have been resolved from `request`."""
    lines = receipt(request, resolved).lines
    return Receipt(
        (
            *_pictures(resolved),
            *(_guidance_line(_size_line(line, request, resolved), request, resolved) for line in lines),
            *_preparation(request, resolved),
            *_settings(request, resolved),
        )
    )


def _pictures(resolved: "ResolvedEdit") -> Iterator[Line]:
    inputs = resolved.inputs
    names = ", ".join(map(str, inputs.images))
    yield Line(parameter="images", requested=names, sent=names)
    for role, one in inputs.by_role:
        if role != "image":
            why = " ".join(note.message for note in resolved.notes if note.parameter == role)
            yield Line(parameter=role, requested=str(one), sent=str(one), why=why.removesuffix("."))


def _preparation(request: ImageRequest, resolved: "ResolvedEdit") -> Iterator[Line]:
    """Show what was done to the images before they were sent."""
    for name, value in resolved.preparation.values().items():
        requested = getattr(request, name, None)
        why = " ".join(note.message for note in resolved.notes if note.parameter == name)
        yield Line(
            parameter=name,
            requested=requested if isinstance(requested, str | int | float) else json.dumps(requested),
            sent=value if isinstance(value, str | int | float) else json.dumps(value),
            sent_as=_SENT_AS.get(name, "mask"),
            why=why.removesuffix("."),
        )


def _size_line(line: Line, request: ImageRequest, resolved: "ResolvedEdit") -> Line:
    """Explain a size that was not requested: it comes from the first input image, not from the model."""
    if line.parameter not in _SIZE or line.outcome != "filled in" or request.aspect_ratio is not None:
        return line
    if resolved.resolution is not None:
        return replace(line, why=f"follows from the input image and the resolution {resolved.resolution}")
    why = " ".join(note.message for note in resolved.notes if note.parameter in _SIZE)
    return replace(line, why=why.removesuffix(".") or "the size of the input image")


def _guidance_line(line: Line, request: ImageRequest, resolved: "ResolvedEdit") -> Line:
    """Show guidance as not sent if edit requests have no field for it; the server then uses its own."""
    if line.parameter != "guidance_scale" or resolved.sends_guidance:
        return line
    left_open = request.guidance_scale is None
    own = f"edit requests have no field for it; the server uses {resolved.guidance_scale:g}"
    same = request.guidance_scale == resolved.guidance_scale
    return replace(
        line,
        sent=None,
        sent_as=None,
        outcome="filled in" if left_open else "as asked" if same else "dropped",
        why=own if left_open or same else line.why,
    )


def _settings(request: ImageRequest, resolved: "ResolvedEdit") -> Iterator[Line]:
    for parameter in _SETTINGS:
        requested: Value | None = getattr(request, parameter, None)
        given: Value | None = getattr(resolved, parameter)
        if given is None and requested is not None:
            why = " ".join(note.message for note in resolved.notes if note.parameter == parameter)
            yield Line(parameter=parameter, requested=requested, outcome="dropped", why=why.removesuffix("."))
        elif given is not None and requested is None:
            yield Line(
                parameter=parameter, sent=given, outcome="filled in", why="the model's standard setting"
            )
        elif given is not None:
            yield Line(parameter=parameter, requested=requested, sent=given)
