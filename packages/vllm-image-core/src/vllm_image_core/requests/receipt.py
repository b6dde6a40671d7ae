"""Build a receipt: for each parameter what was requested, what was sent and what the image confirms.

::

    parameter            requested  sent                confirmed  why
    num_inference_steps  -          28                  -          the model's standard setting
    guidance_scale       7          true_cfg_scale=7    -
    width                -          1664                1664       the aspect_ratio means 1664x928 here
    seed                 -          42                  -          drawn

Only the size and the format of an image can be confirmed; "-" means that there is no value.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from vllm_image_core.imaging.size import Size
from vllm_image_core.requests.fields import PLAIN_FIELDS, SENT_TEXTS, RequestField
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import one_line

if TYPE_CHECKING:
    from vllm_image_core.requests.resolver import ResolvedRequest

Outcome = Literal["as asked", "filled in", "drawn", "changed", "dropped", "differs"]
"""What became of a parameter; "filled in": by profile, preset or aspect ratio; "differs": in the image."""

Value = str | int | float

_NOTABLE: Final = frozenset({"drawn", "changed", "dropped", "differs"})
_HEADINGS: Final = ("parameter", "requested", "sent", "confirmed", "why")
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One parameter of a receipt.

    Attributes:
        parameter: As in `ImageRequest`, or "output_format".
        requested: The caller's value; None if none was given.
        sent: The value sent to the server; None if none was sent.
        sent_as: The field it was sent in, if that has another name.
        confirmed: The value found in the image; None if the image does not show it.
        outcome: What became of the parameter.
        why: The reason, or "".
    """

    parameter: str
    requested: Value | None = None
    sent: Value | None = None
    sent_as: str | None = None
    confirmed: Value | None = None
    outcome: Outcome = "as asked"
    why: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The line as a row of the table."""
        sent = (
            _format_value(self.sent) if self.sent_as is None else f"{self.sent_as}={_format_value(self.sent)}"
        )
        return self.parameter, _format_value(self.requested), sent, _format_value(self.confirmed), self.why


@dataclass(frozen=True, slots=True)
class Receipt:
    """The lines for one image; `str(receipt)` is a small table."""

    lines: tuple[Line, ...]

    @property
    def notable_lines(self) -> tuple[Line, ...]:
        """The lines a caller should see: values that were drawn, changed or dropped, or that differ."""
        return tuple(line for line in self.lines if line.outcome in _NOTABLE)

    def confirm(self, *, size: Size, output_format: str) -> "Receipt":
        """Return the receipt with the values found in the received image."""
        found: Mapping[str, Value] = {
            "width": size.width,
            "height": size.height,
            "output_format": output_format,
        }
        return Receipt(tuple(_compare(line, found.get(line.parameter)) for line in self.lines))

    def facts(self) -> list[dict[str, Value | None]]:
        """Return all lines as plain values, for JSON."""
        return [asdict(line) for line in self.lines]

    def compact(self) -> dict[str, dict[str, Value]]:
        """Return all lines by parameter, without empty values and without prompts that the file holds."""
        return {line.parameter: _compact(line) for line in self.lines}

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Format the lines as a table: what was requested, sent and confirmed, and why it changed."""
        rows = [_HEADINGS, *(line.cells for line in self.lines)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


def _compact(line: Line) -> dict[str, Value]:
    is_text = line.parameter in SENT_TEXTS
    values: dict[str, Value | None] = {
        "requested": None if is_text and line.requested == line.sent else line.requested,
        "sent": None if is_text else line.sent,
        "sent_as": line.sent_as,
        "confirmed": line.confirmed,
        "outcome": line.outcome,
        "why": line.why or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def receipt(request: ImageRequest, resolved: "ResolvedRequest") -> Receipt:
    """Compare what was requested with what is sent; `resolved` must have been resolved from `request`."""
    return Receipt(tuple(_lines(request, resolved)))


def _lines(request: ImageRequest, resolved: "ResolvedRequest") -> Iterator[Line]:
    reasons = _Reasons(resolved)
    yield _prompt(request, resolved, reasons("prompt"))
    if resolved.style is not None:
        yield Line(parameter="style", requested=resolved.style, why=reasons("style"))
    yield _negative_prompt(request.negative_prompt, resolved, reasons("negative_prompt"))
    if request.quality is not None:
        yield _quality(request.quality, reasons("quality"))
    if request.aspect_ratio is not None:
        yield Line(
            parameter="aspect_ratio", requested=request.aspect_ratio, sent=str(resolved.size), sent_as="size"
        )
    filled = (
        f"the aspect_ratio means {resolved.size} here"
        if request.aspect_ratio
        else _filled_reason(resolved, "size", "width", "height", "aspect_ratio")
    )
    yield _line("width", request.width, resolved.width, reasons("width"), filled)
    yield _line("height", request.height, resolved.height, reasons("height"), filled)
    steps = _filled_reason(resolved, "setting", "num_inference_steps")
    yield _line("num_inference_steps", request.num_inference_steps, resolved.num_inference_steps, "", steps)
    yield _guidance(request.guidance_scale, resolved, reasons("guidance_scale"))
    yield _seed(request, resolved)
    requested_format = None if request.output_format is None else resolved.output_format
    yield _line("output_format", requested_format, resolved.output_format, "", "")
    for each in PLAIN_FIELDS:
        if getattr(request, each.name) is not None or each.name in resolved.styled:
            yield _plain_line(each, request, resolved, reasons(each.name))


def _plain_line(field: RequestField, request: ImageRequest, resolved: "ResolvedRequest", why: str) -> Line:
    """Show a plain field; a LoRA or an object is sent in another form, but never another one."""
    requested, sent = _as_text(getattr(request, field.name)), _as_text(getattr(resolved, field.name))
    if requested is None and sent is not None:
        return Line(
            parameter=field.name, sent=sent, outcome="filled in", why=why or f"style {resolved.style}"
        )
    same = sent == requested or field.kind in {"lora", "object"}
    outcome: Outcome = "dropped" if sent is None else "as asked" if same else "changed"
    return Line(parameter=field.name, requested=requested, sent=sent, outcome=outcome, why=why)


def _as_text(value: object) -> Value | None:
    """Return a value as a receipt shows it: an object as its JSON."""
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


class _Reasons:
    """The notes of a resolved request, by parameter."""

    def __init__(self, resolved: "ResolvedRequest") -> None:
        self._notes = resolved.notes

    def __call__(self, parameter: str) -> str:
        messages = (note.message for note in self._notes if note.parameter == parameter)
        return " ".join(messages).removesuffix(".")


def _filled_reason(resolved: "ResolvedRequest", what: str, *names: str) -> str:
    if resolved.styled.intersection(names):
        return f"style {resolved.style}"
    return f"the model's {resolved.quality or 'standard'} {what}"


def _line(parameter: str, requested: Value | None, sent: Value, why: str, filled: str) -> Line:
    if requested is None:
        return Line(parameter=parameter, sent=sent, outcome="filled in", why=why or filled)
    outcome: Outcome = "as asked" if requested == sent else "changed"
    return Line(parameter=parameter, requested=requested, sent=sent, outcome=outcome, why=why)


def _prompt(request: ImageRequest, resolved: "ResolvedRequest", why: str) -> Line:
    line = Line(parameter="prompt", requested=request.prompt, sent=resolved.prompt, why=why)
    if "prompt" not in resolved.styled:
        return line
    return replace(line, outcome="changed", why=_style_reason(resolved, why))


def _style_reason(resolved: "ResolvedRequest", why: str) -> str:
    return "; ".join(filter(None, (f"style {resolved.style}", why)))


def _negative_prompt(requested: str | None, resolved: "ResolvedRequest", why: str) -> Line:
    sent = resolved.negative_prompt
    if "negative_prompt" in resolved.styled:
        why = _style_reason(resolved, why)
    if requested is None:
        outcome: Outcome = "filled in"
        why = why or ("guidance needs one here, and a space is enough" if sent is not None else "")
    elif sent == requested:
        outcome = "as asked"
    elif sent is None:
        outcome = "dropped" if requested.strip() else "as asked"
    else:
        outcome = "as asked" if not requested.strip() else "changed"
    return Line(parameter="negative_prompt", requested=requested, sent=sent, outcome=outcome, why=why)


def _quality(requested: str, why: str) -> Line:
    """Show a quality, which is never sent itself: it fills in other parameters, or is dropped."""
    outcome: Outcome = "dropped" if why else "as asked"
    return Line(parameter="quality", requested=requested, outcome=outcome, why=why)


def _guidance(requested: float | None, resolved: "ResolvedRequest", why: str) -> Line:
    line = _line(
        "guidance_scale",
        requested,
        resolved.sent_guidance,
        why,
        _filled_reason(resolved, "setting", "guidance_scale"),
    )
    same = resolved.guidance_field == "guidance_scale"
    return line if same else replace(line, sent_as=resolved.guidance_field)


def _seed(request: ImageRequest, resolved: "ResolvedRequest") -> Line:
    if request.seed is None or request.seed_drawn:
        return Line(parameter="seed", sent=resolved.seed, outcome="drawn", why="drawn")
    return Line(parameter="seed", requested=request.seed, sent=resolved.seed)


def _compare(line: Line, found: Value | None) -> Line:
    if found is None:
        return line
    if found == line.sent:
        return replace(line, confirmed=found)
    why = f"the server sent {found} instead of {line.sent}"
    return replace(line, confirmed=found, outcome="differs", why=f"{line.why}; {why}" if line.why else why)


def _format_value(value: Value | None) -> str:
    match value:
        case None:
            return "-"
        case str():
            return one_line(value, limit=_SHOWN) if value.strip() else repr(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
