"""Say what an HTTP status means: what became of the work, how the server is, and what to do next."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from vllm_omni_client.errors import GpuSpent, Outcome, ServerState


class Meaning(NamedTuple):
    """What a status means if it differs from its class."""

    outcome: "Outcome"
    server_state: "ServerState"
    gpu_spent: "GpuSpent" = "no"
    next_step: str = ""


_GATEWAY_GAVE_UP: Final = Meaning(
    "final",
    "timed_out",
    "unknown",
    "A proxy timed out before the server answered; raise the proxy's timeout (nginx: proxy_read_timeout), or "
    "use fewer steps or a smaller size. The request may still be running on the server.",
)
_GATEWAY_CUT_OFF: Final = Meaning(
    "unknown",
    "unavailable",
    "unknown",
    "A proxy got no answer from the server behind it; check whether that server is running, then call again.",
)
_NOT_PASSED_ON: Final = Meaning(
    "refused",
    "unavailable",
    "no",
    "A proxy cannot reach the server behind it; check whether that server is running, then call again.",
)
_REDIRECTED: Final = Meaning(
    "final",
    "healthy",
    "no",
    "Set base_url to the address at which the server itself answers; redirects are not followed.",
)
_NOT_SERVED: Final = Meaning(
    "final",
    "unavailable",
    "no",
    "A proxy or network gateway refused the request; use an address that leads directly to the server.",
)

REFUSALS: Final[Mapping[int, Meaning]] = {
    **dict.fromkeys(range(300, 400), _REDIRECTED),
    408: Meaning("refused", "busy", "no", "Wait, then call again."),
}
"""Statuses by which the request is refused before any work."""

NO_CAPACITY: Final[Mapping[int, Meaning]] = {502: _GATEWAY_CUT_OFF}
"""Statuses of a server, or a proxy, that cannot take the request now."""

# 520 to 530 are Cloudflare's; others use 529 for an overload; some proxies use 598 and 599.
FAILURES: Final[Mapping[int, Meaning]] = {
    501: Meaning(
        "final",
        "unsupported",
        "no",
        "Check that base_url leads to a vLLM-Omni server that serves an image model.",
    ),
    # Only something in front of the server answers these: version, loop and sign-in of a network.
    **dict.fromkeys((505, 508, 511), _NOT_SERVED),
    **dict.fromkeys((504, 522, 524, 598, 599), _GATEWAY_GAVE_UP),
    520: _GATEWAY_CUT_OFF,
    **dict.fromkeys((521, 523, 530), _NOT_PASSED_ON),
    **dict.fromkeys((525, 526), _NOT_PASSED_ON._replace(outcome="final")),
    529: Meaning("refused", "busy", "no", "Wait, then call again."),
}
"""Statuses from 500 on whose meaning differs from that of a failure at the work."""
