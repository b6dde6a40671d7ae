"""The receipt of an edit: a generation's lines, and those of the pictures and of what only edits have."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit, has_no_place
from vllm_image_core.requests.receipt import Line, Receipt, Value, receipt

__all__ = ["edit_receipt"]

_SIZE: Final = frozenset({"width", "height"})
_SETTINGS: Final = ("strength", "layers", "resolution")


def edit_receipt(request: EditRequest, resolved: ResolvedEdit) -> Receipt:
    """What was asked for beside what is sent; `request` is what `resolved` was resolved from."""
    lines = receipt(request, resolved).lines
    return Receipt(
        (
            *_pictures(resolved),
            *(_guidance_line(_size_line(line, request, resolved), request, resolved) for line in lines),
            *_settings(request, resolved),
        )
    )


def _pictures(resolved: ResolvedEdit) -> Iterator[Line]:
    inputs = resolved.inputs
    told = ", ".join(map(str, inputs.images))
    yield Line(parameter="images", requested=told, sent=told)
    for role, one in inputs.by_role:
        if role != "image":
            why = " ".join(note.message for note in resolved.notes if note.parameter == role)
            yield Line(parameter=role, requested=str(one), sent=str(one), why=why.removesuffix("."))


def _size_line(line: Line, request: EditRequest, resolved: ResolvedEdit) -> Line:
    """A size that nobody asked for is the first picture's, and not the model's."""
    if line.parameter not in _SIZE or line.outcome != "filled in" or request.aspect_ratio is not None:
        return line
    if resolved.resolution is not None:
        return replace(line, why=f"follows from the picture and the resolution {resolved.resolution}")
    told = " ".join(note.message for note in resolved.notes if note.parameter in _SIZE)
    return replace(line, why=told.removesuffix(".") or "the size of the picture")


def _guidance_line(line: Line, request: EditRequest, resolved: ResolvedEdit) -> Line:
    """Guidance for which the form has no field is not sent; the server takes its own."""
    if line.parameter != "guidance_scale" or not has_no_place(resolved):
        return line
    left_open = request.guidance_scale is None
    own = f"an edit has no field for it; the server takes {resolved.guidance_scale:g}"
    same = request.guidance_scale == resolved.guidance_scale
    return replace(
        line,
        sent=None,
        sent_as=None,
        outcome="filled in" if left_open else "as asked" if same else "dropped",
        why=own if left_open or same else line.why,
    )


def _settings(request: EditRequest, resolved: ResolvedEdit) -> Iterator[Line]:
    for parameter in _SETTINGS:
        requested: Value | None = getattr(request, parameter)
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
