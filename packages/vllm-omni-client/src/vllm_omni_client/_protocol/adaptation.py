"""Fitting: a request as one server takes it. Pure: (request, what the server can) → what is sent.

What the server would ignore in silence is refused or left out; a value that says what the server does anyway
is left out without a word; what loses the caller nothing and spares the wire is added.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from secrets import randbelow
from typing import Final, Generic, TypeVar

from vllm_omni_client.capabilities import Capabilities, Route
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import UnsupportedParameter
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.uploads import Upload

Request = TypeVar("Request", ImageGenerationRequest, ImageEditRequest)

PNG_COMPRESSION: Final = 90
"""zlib level 1; the server's own default, 100, is level 0, which does not compress at all.

Measured with the server's Pillow 13.0 (zlib-ng 2.3) on pictures like a model's, 1024x1024, as shares of what
base64 of level 0 has: level 1 has 0.36 (smooth) to 0.50 (grain of film) for 35 to 50 ms more of the server's
CPU; level 4 has 0.30 to 0.45 for 120 to 150 ms more. Coarse grain has 0.54 and 0.50, pure noise 0.75 at every
level: half cannot be promised for those. The first step pays, the next ones only on a line below 20 Mbit/s.
"""

_DONE_ANYWAY: Final[Mapping[str, object]] = {
    "extra_params": {},
    "output_compression": 100,
    "output_format": "png",
    "response_format": "b64_json",
    "return_stage_metrics": False,
    "vae_use_slicing": False,
    "vae_use_tiling": False,
}
"""What a server without the field does anyway: left out, such a value changes nothing.

Source: the wheels of vLLM-Omni 0.14.0 to 0.30.0, where each of these is the field's default, or, before there
was the field, what the handler does. PNG before 0.20 is compressed, which no pixel shows.
"""

# Until 0.20 a guidance scale of 0 was taken for none, and drawn with 1.
_ZERO_GUIDANCE_SINCE: Final = (0, 26)
# Until 0.14 an edit took seed 0 for none, and drew one.
_ZERO_SEED_SINCE: Final = (0, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted(Generic[Request]):
    """A request that can be sent.

    Attributes:
        requested: What the caller asked for.
        sent: What is sent.
        ignored: Fields that the caller set and this server would ignore in silence; they are not sent.
        warnings: What this server is known to do differently, a sentence each.
    """

    requested: Request
    sent: Request
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def with_seed(request: Request) -> Request:
    """Return a request with a seed, drawn where the caller left it out: servers never tell the one they draw.

    It has 32 bits, as the servers' own. 0 is not drawn: some servers take it for none.
    """
    return (
        request if request.seed is not None else request.model_copy(update={"seed": 1 + randbelow(2**32 - 1)})
    )


def adapt_generation(
    request: ImageGenerationRequest,
    server: Capabilities,
    *,
    strict: bool,
    into_file: bool = False,
    requested: ImageGenerationRequest | None = None,
) -> Adapted[ImageGenerationRequest]:
    """Return a generation as this server takes it.

    Args:
        request: What is to be sent.
        server: What the server can do.
        strict: Whether a field that would be ignored is an error.
        into_file: Whether the picture goes straight to a file: then its own bytes are asked for.
        requested: What the caller asked for, where that is not all of `request`.

    Raises:
        UnsupportedParameter: In strict mode: this server would ignore a field in silence.
    """
    unknown = _unknown(request, "generations", server)
    ignored = _ignored_fields(request, unknown)
    if request.response_format == "file" and not _may_send_files(server):
        ignored = (*ignored, "response_format")
    _refuse(ignored, server, strict=strict)
    sent = request.model_copy(update=dict.fromkeys((*unknown, *ignored)))
    chosen = {**_compression(sent, "generations", server), **(_as_file(sent, server) if into_file else {})}
    return Adapted(
        requested=requested or request,
        sent=sent.model_copy(update=chosen),
        ignored=ignored,
        warnings=_quirks(request, server),
    )


def adapt_edit(
    request: ImageEditRequest,
    uploads: tuple[Upload, ...],
    server: Capabilities,
    *,
    strict: bool,
    requested: ImageEditRequest | None = None,
) -> tuple[Adapted[ImageEditRequest], tuple[Upload, ...]]:
    """Return an edit and its pictures as this server takes them.

    Raises:
        UnsupportedParameter: In strict mode: this server would ignore a field or a picture in silence.
    """
    unknown = _unknown(request, "edits", server)
    fields = _ignored_fields(request, unknown)
    pictures = tuple(dict.fromkeys(one.field for one in uploads if not server.takes("edits", one.field)))
    if request.seed == 0 and _is_before(server, _ZERO_SEED_SINCE):
        fields = (*fields, "seed")
    _refuse((*fields, *pictures), server, strict=strict)
    sent = request.model_copy(update=dict.fromkeys((*unknown, *fields)))
    fitted = Adapted(
        requested=requested or request,
        sent=sent.model_copy(update=_compression(sent, "edits", server)),
        ignored=(*fields, *pictures),
        warnings=_quirks(request, server),
    )
    return fitted, tuple(one for one in uploads if one.field not in pictures)


def _unknown(
    request: ImageGenerationRequest | ImageEditRequest, route: Route, server: Capabilities
) -> tuple[str, ...]:
    """The fields with a value that the server does not know."""
    return tuple(name for name, value in request if value is not None and not server.takes(route, name))


def _ignored_fields(
    request: ImageGenerationRequest | ImageEditRequest, unknown: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of them whose value asks for something that the server does not do anyway."""
    return tuple(
        name
        for name in unknown
        if name not in _DONE_ANYWAY or not _same(getattr(request, name), _DONE_ANYWAY[name])
    )


def _same(value: object, usual: object) -> bool:
    return type(value) is type(usual) and value == usual


def _refuse(ignored: tuple[str, ...], server: Capabilities, *, strict: bool) -> None:
    if strict and ignored:
        named = f"vLLM-Omni {server.version}" if server.version else "this server"
        them = "it" if len(ignored) == 1 else "them"
        raise UnsupportedParameter(
            f"{named} does not know {', '.join(ignored)}, and would ignore {them} in silence",
            parameter=ignored[0],
            version=server.version,
        )


def _may_send_files(server: Capabilities) -> bool:
    return server.sends_files or server.source == "unknown"


def _compression(
    request: ImageGenerationRequest | ImageEditRequest, route: Route, server: Capabilities
) -> dict[str, object]:
    """Ask for PNGs that are compressed, where the server lets itself be asked.

    Edits of servers before 0.30 have the field, but with another meaning for each version: left alone.
    """
    is_png = request.output_format in {None, "png"}
    tunes = "output_compression" in server.generation_fields and server.takes(route, "output_compression")
    return (
        {"output_compression": PNG_COMPRESSION}
        if is_png and tunes and request.output_compression is None
        else {}
    )


def _as_file(request: ImageGenerationRequest, server: Capabilities) -> dict[str, object]:
    """Ask for the picture's own bytes, unless that would lose what the caller asked for."""
    free = request.response_format is None and not request.return_stage_metrics
    return {"response_format": "file"} if server.sends_files and free else {}


def _quirks(request: ImageGenerationRequest | ImageEditRequest, server: Capabilities) -> tuple[str, ...]:
    if request.guidance_scale == 0 and _is_before(server, _ZERO_GUIDANCE_SINCE):
        return (f"vLLM-Omni {server.version} takes a guidance_scale of 0 for 1.",)
    return ()


def _is_before(server: Capabilities, since: tuple[int, int]) -> bool:
    return server.numbers is not None and server.numbers < since
