"""Adapt a request to what one server supports. Pure: (request, capabilities) → request to send.

A field that the server would silently ignore is refused or omitted. A value that matches what the server does
anyway is omitted without a warning. Options that save bandwidth at no cost to the caller are added.
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

Measured with the server's Pillow 13.0 (zlib-ng 2.3) on images like a model's, 1024x1024, relative to base64
of level 0: level 1 gives 0.36 (smooth) to 0.50 (film grain) for 35 to 50 ms more server CPU; level 4 gives
0.30 to 0.45 for 120 to 150 ms more. Coarse grain gives 0.54 and 0.50, pure noise 0.75 at every level, so half
cannot be promised for those. Level 1 pays off; higher levels do so only on a connection below 20 Mbit/s.
"""

_SERVER_DEFAULTS: Final[Mapping[str, object]] = {
    "extra_params": {},
    "output_compression": 100,
    "output_format": "png",
    "response_format": "b64_json",
    "return_stage_metrics": False,
    "vae_use_slicing": False,
    "vae_use_tiling": False,
}
"""What a server without the field does anyway, so that omitting the value changes nothing.

Source: the wheels of vLLM-Omni 0.14.0 to 0.30.0. Each value is the field's default or, before the field
existed, what the handler does. PNGs before 0.20 are compressed, which changes no pixel.
"""

# Older releases treat a guidance scale of 0 as missing and use 1.
_ZERO_GUIDANCE_SINCE: Final = (0, 26)
# Older releases treat seed 0 of an edit as missing and draw one.
_ZERO_SEED_SINCE: Final = (0, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptedRequest(Generic[Request]):
    """A request that is ready to be sent.

    `ignored` fields were set by the caller, but this server would silently ignore them; they are not sent.
    `warnings` are its known deviations, a sentence each.
    """

    requested: Request
    sent: Request
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def with_seed(request: Request) -> Request:
    """Return the request with a seed, drawn if the caller omitted it: servers never report their own.

    The seed has 32 bits, like the servers' own. 0 is never drawn, because some servers treat it as missing.
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
) -> AdaptedRequest[ImageGenerationRequest]:
    """Return a generation request as this server supports it.

    If the image goes straight `into_file`, its own bytes are requested. `requested` is what the caller asked
    for, if `request` already differs from it.

    Raises:
        UnsupportedParameter: In strict mode: this server would silently ignore a field.
    """
    unknown = _unknown(request, "generations", server)
    ignored = _ignored_fields(request, unknown)
    may_send_files = server.sends_files or server.source == "unknown"
    if request.response_format == "file" and not may_send_files:
        ignored = (*ignored, "response_format")
    _refuse(ignored, server, strict=strict)
    sent = request.model_copy(update=dict.fromkeys((*unknown, *ignored)))
    chosen = {
        **_compression(sent, "generations", server),
        **_base64(sent, "generations", server),
        **(_as_file(sent, server) if into_file else {}),
    }
    return AdaptedRequest(
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
) -> tuple[AdaptedRequest[ImageEditRequest], tuple[Upload, ...]]:
    """Return an edit request and its images as this server supports them; see `adapt_generation`."""
    unknown = _unknown(request, "edits", server)
    fields = _ignored_fields(request, unknown)
    images = tuple(dict.fromkeys(one.field for one in uploads if not server.supports("edits", one.field)))
    if request.seed == 0 and _is_before(server, _ZERO_SEED_SINCE):
        fields = (*fields, "seed")
    _refuse((*fields, *images), server, strict=strict)
    sent = request.model_copy(update=dict.fromkeys((*unknown, *fields)))
    adapted = AdaptedRequest(
        requested=requested or request,
        sent=sent.model_copy(
            update={**_compression(sent, "edits", server), **_base64(sent, "edits", server)}
        ),
        ignored=(*fields, *images),
        warnings=_quirks(request, server),
    )
    return adapted, tuple(one for one in uploads if one.field not in images)


def _unknown(
    request: ImageGenerationRequest | ImageEditRequest, route: Route, server: Capabilities
) -> tuple[str, ...]:
    """Return the fields that have a value and that the server does not support."""
    return tuple(name for name, value in request if value is not None and not server.supports(route, name))


def _ignored_fields(
    request: ImageGenerationRequest | ImageEditRequest, unknown: tuple[str, ...]
) -> tuple[str, ...]:
    """Return those unsupported fields whose value differs from what the server does anyway."""
    return tuple(
        name
        for name in unknown
        if name not in _SERVER_DEFAULTS
        or type(getattr(request, name)) is not type(_SERVER_DEFAULTS[name])
        or getattr(request, name) != _SERVER_DEFAULTS[name]
    )


def _refuse(ignored: tuple[str, ...], server: Capabilities, *, strict: bool) -> None:
    if strict and ignored:
        named = f"vLLM-Omni {server.version}" if server.version else "this server"
        them = "it" if len(ignored) == 1 else "them"
        raise UnsupportedParameter(
            f"{named} does not support {', '.join(ignored)} and would silently ignore {them}",
            parameter=ignored[0],
            version=server.version,
        )


def _compression(
    request: ImageGenerationRequest | ImageEditRequest, route: Route, server: Capabilities
) -> dict[str, object]:
    """Ask for compressed PNGs if the server supports it.

    Edits have the field before 0.30 too, but its meaning changes between releases, so it is not set there.
    """
    is_png = request.output_format in {None, "png"}
    tunes = "output_compression" in server.generation_fields and server.supports(route, "output_compression")
    return (
        {"output_compression": PNG_COMPRESSION}
        if is_png and tunes and request.output_compression is None
        else {}
    )


def _base64(
    request: ImageGenerationRequest | ImageEditRequest, route: Route, server: Capabilities
) -> dict[str, object]:
    """Ask for base64 unless the server sends it anyway: others send URLs, which are not followed."""
    needs_word = not server.is_vllm_omni and server.supports(route, "response_format")
    return {"response_format": "b64_json"} if needs_word and request.response_format is None else {}


_UNCONFIRMED: Final = (
    *("seed", "num_inference_steps", "guidance_scale", "true_cfg_scale", "extra_params"),
    *("negative_prompt", "strength", "lora", "flow_shift", "layers"),
)


def unconfirmed_fields(
    sent: ImageGenerationRequest | ImageEditRequest, server: Capabilities
) -> tuple[str, ...]:
    """Return the sent fields that shape the image, if nothing shows that the server reads them."""
    if server.source != "unknown":
        return ()
    return tuple(name for name in _UNCONFIRMED if getattr(sent, name, None) is not None)


def _as_file(request: ImageGenerationRequest, server: Capabilities) -> dict[str, object]:
    """Ask for the image's own bytes, unless the caller would lose something they asked for."""
    free = request.response_format is None and not request.return_stage_metrics
    return {"response_format": "file"} if server.sends_files and free else {}


def _quirks(request: ImageGenerationRequest | ImageEditRequest, server: Capabilities) -> tuple[str, ...]:
    if request.guidance_scale == 0 and _is_before(server, _ZERO_GUIDANCE_SINCE):
        return (f"vLLM-Omni {server.version} treats a guidance_scale of 0 as 1.",)
    return ()


def _is_before(server: Capabilities, since: tuple[int, int]) -> bool:
    return server.numbers is not None and server.numbers < since
