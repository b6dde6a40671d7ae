"""Check a server: its connection, key, model, routes, release, metrics and GPU memory."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vllm_image_core.estimation.estimator import misfit
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import ServedModel, choose_model, match_served_model
from vllm_image_core.text import one_line
from vllm_omni_client.capabilities import GENERATIONS_PATH, Capabilities
from vllm_omni_client.errors import (
    BadReply,
    ModelChanged,
    NotFound,
    OmniError,
    ServerUnreachable,
    Unauthorized,
)
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationRequest

from vllm_image_mcp.doctor.finding import Finding, Status
from vllm_image_mcp.doctor.server_facts import ServerFacts, is_about_certificate
from vllm_image_mcp.error_messages import next_step

_OLDEST: Final = (0, 14)
_TESTED: Final = (0, 30)
_START: Final = "Start it with an image model: `vllm serve MODEL --omni --port PORT`."
_NOTHING_LISTENS: Final = (
    "Start the server (`vllm serve MODEL --omni --port PORT`), or correct the host and port in --vllm-url. "
    "If it runs in a container, publish its port."
)
_ANOTHER_PROGRAM: Final = (
    "Correct the port in --vllm-url: what answers there is another program, or a proxy without vLLM-Omni."
)


def check_server(
    facts: ServerFacts,
    *,
    registry: Registry,
    has_key: bool,
    total_vram_gb: float | None,
    wanted: str | None = None,
) -> Iterator[Finding]:
    """Yield the findings about a server; a check that needs an answer that is missing is left out.

    Args:
        facts: What the server answered.
        registry: The model profiles.
        has_key: Whether an API key is configured.
        total_vram_gb: Memory of the server's GPU in GB; None if unknown.
        wanted: The model to use if the server lists several; None for the first one with a profile.
    """
    connection = check_connection(facts)
    yield connection
    if connection.status == "failed":
        return
    key = check_key(facts, has_key=has_key)
    yield key
    if key.status == "failed":
        return
    facts = _with_chosen_model(facts, registry, wanted)
    model = check_model(facts)
    yield model
    yield check_routes(facts)
    if model.status != "failed" and not isinstance(facts.models, OmniError):
        served = match_served_model(facts.models, registry, wanted)
        yield check_profile(facts, served)
        yield check_memory(facts, served, total_vram_gb=total_vram_gb)
    yield check_release(facts)
    yield check_metrics(facts)
    yield check_batching(facts)


def check_connection(facts: ServerFacts) -> Finding:
    """Whether a vLLM-Omni server answers and its engine is alive."""
    match facts.health:
        case True:
            return _finding(facts, "connection", "ok", "The server answers, and its engine is alive.")
        case False:
            return _finding(
                facts,
                "connection",
                "failed",
                "The server answers, but its engine is not alive.",
                "Wait if it is still starting; otherwise restart the vLLM-Omni server and see its log.",
            )
        case OmniError() as error:
            return _finding(
                facts, "connection", "failed", f"{error.message}.", _fix_of_connection(facts, error)
            )


def _fix_of_connection(facts: ServerFacts, error: OmniError) -> str:
    instead = facts.elsewhere and f"use --vllm-url {facts.elsewhere}"
    match error:
        case ServerUnreachable(reason="refused"):
            return f"A server answers on another port: {instead}." if instead else _NOTHING_LISTENS
        case ServerUnreachable(reason="tls"):
            return f"That port does not use TLS: {instead}." if instead else _fix_of_tls(error)
        case BadReply() | NotFound():
            return _ANOTHER_PROGRAM
        case _:
            return f"That port uses TLS: {instead}." if instead else next_step(error)


def _fix_of_tls(error: OmniError) -> str:
    if is_about_certificate(error):
        return "Trust the server's certificate: set --ca-file to a PEM file with it or its CA."
    return next_step(error)


def check_key(facts: ServerFacts, *, has_key: bool) -> Finding:
    """Whether the server accepts the configured key, or needs none."""
    match facts.models:
        case Unauthorized(by_proxy=True) as error:
            return _finding(facts, "key", "failed", f"{error.message}.", next_step(error))
        case Unauthorized():
            fix = "Set VLLM_IMAGE_API_KEY (or --api-key-file) to the key that the server was started with"
            if has_key:
                return _finding(facts, "key", "failed", "The server refuses the API key.", f"{fix}.")
            return _finding(
                facts, "key", "failed", "The server needs an API key, and none is set.", f"{fix}."
            )
        case OmniError() as error:
            return _finding(facts, "key", "failed", f"{error.message}.", _fix_of_connection(facts, error))
        case _ if has_key:
            return _finding(facts, "key", "ok", "The server accepts the API key, or needs none.")
        case _:
            return _finding(facts, "key", "ok", "The server needs no API key.")


def _with_chosen_model(facts: ServerFacts, registry: Registry, wanted: str | None) -> ServerFacts:
    """Return the facts with the model first that requests will name."""
    if isinstance(facts.models, OmniError):
        return facts
    try:
        return replace(facts, models=choose_model(facts.models, registry, wanted))
    except ModelChanged as error:
        return replace(facts, models=error)


def check_model(facts: ServerFacts) -> Finding:
    """Whether a model is loaded."""
    if isinstance(facts.models, ModelChanged):
        error = facts.models
        return _finding(facts, "model", "failed", f"{error.message}.", next_step(error))
    if isinstance(facts.models, OmniError) or not facts.models.data:
        return _finding(
            facts,
            "model",
            "failed",
            "The server lists no model.",
            "Wait if it is still loading; otherwise see the server's log.",
        )
    return _finding(facts, "model", "ok", f"{one_line(facts.models.data[0].id)} is loaded.")


def check_routes(facts: ServerFacts) -> Finding:
    """Whether the server has the route that generates images; one for a language model does not."""
    known = facts.capabilities
    if isinstance(known, Capabilities) and not known.has(GENERATIONS_PATH):
        return _finding(
            facts,
            "image API",
            "failed",
            f"The server has no route {GENERATIONS_PATH}: it has a language model, or runs without --omni.",
            _START,
        )
    return _finding(facts, "image API", "ok", f"The server has the route {GENERATIONS_PATH}.")


def check_profile(facts: ServerFacts, served: ServedModel) -> Finding:
    """Whether the model's settings are known, and whether it generates images from text."""
    profile, match = served.profile, served.match
    if match.warning:
        return _finding(
            facts,
            "profile",
            "warning",
            match.warning,
            "Write a profile for it and set --profiles, or serve a model that `vllm-image-mcp models` lists.",
        )
    if not profile.text_to_image:
        return _finding(
            facts,
            "profile",
            "info",
            f"{profile.model} only edits images: use edit_image; generate_image is refused.",
        )
    return _finding(facts, "profile", "ok", f"The settings of {profile.model} are known.")


def check_memory(facts: ServerFacts, served: ServedModel, *, total_vram_gb: float | None) -> Finding:
    """Whether the model and one image fit on the GPU."""
    if total_vram_gb is None:
        return _finding(
            facts,
            "GPU memory",
            "info",
            "The server does not report its GPU's memory.",
            "Set --gpu-vram-gb to let batches use the GPU fully.",
        )
    if problem := misfit(served.profile, total_vram_gb):
        return _finding(
            facts,
            "GPU memory",
            "warning",
            problem,
            "Serve a smaller or quantised model, start with --enable-cpu-offload, or correct --gpu-vram-gb.",
        )
    return _finding(facts, "GPU memory", "ok", f"The model and an image fit in {total_vram_gb:g} GB.")


def check_release(facts: ServerFacts) -> Finding:
    """Which release the server is, and which fields of a request it would ignore."""
    known = facts.capabilities
    if isinstance(known, Capabilities) and not known.is_vllm_omni and _shows_something(known):
        reads = (
            "it describes the fields that it reads"
            if known.source == "openapi"
            else "seed, steps and guidance are sent, and may not be read"
        )
        detail = f"Nothing indicates that this server is vLLM-Omni: {reads}."
        return _finding(
            facts, "release", "info", detail, "docs/servers.md says what works with other servers."
        )
    if isinstance(known, OmniError) or known.version is None or known.numbers is None:
        return _finding(
            facts,
            "release",
            "info",
            "The server does not report its release.",
            "Allow /version in its proxy.",
        )
    name, update = f"vLLM-Omni {one_line(known.version)}", "Update vLLM-Omni to 0.30 or later."
    if known.numbers < _OLDEST:
        return _finding(
            facts, "release", "warning", f"{name} is older than 0.14, the oldest supported.", update
        )
    ignored = [
        field for field in ImageGenerationRequest.model_fields if not known.supports("generations", field)
    ]
    if ignored:
        return _finding(facts, "release", "warning", f"{name} would ignore {', '.join(ignored)}.", update)
    newer = "; it is newer than 0.30, the newest tested" if known.numbers > _TESTED else ""
    return _finding(facts, "release", "ok", f"{name} reads every field of a request{newer}.")


def _shows_something(known: Capabilities) -> bool:
    """Whether a server that is not known to be a vLLM-Omni describes itself or reports a version."""
    return known.source == "openapi" or known.numbers is not None


def check_metrics(facts: ServerFacts) -> Finding:
    """Whether the server reports its running and waiting requests, which estimates need."""
    match facts.metrics:
        case OmniError() as error:
            return _finding(
                facts,
                "metrics",
                "warning",
                f"The server's /metrics cannot be read: {error.message}.",
                "Allow /metrics in its proxy; without it, estimates cannot include the server's queue.",
            )
        case metrics if metrics.requests_running is None:
            return _finding(
                facts,
                "metrics",
                "warning",
                "The server's /metrics has no counters of vLLM-Omni.",
                "Start it without --disable-log-stats, or update it to 0.26 or later.",
            )
        case metrics:
            return _finding(
                facts,
                "metrics",
                "ok",
                f"{metrics.requests_running} requests run and {metrics.requests_waiting or 0} wait.",
            )


def check_batching(facts: ServerFacts) -> Finding:
    """Whether the server generates several images at a time, which it shows only while it does."""
    if isinstance(facts.metrics, ServerMetrics) and (facts.metrics.requests_running or 0) > 1:
        return _finding(facts, "batching", "ok", "The server works on several images at a time.")
    return _finding(
        facts,
        "batching",
        "info",
        "Unless it was started otherwise, the server generates one image at a time.",
        "If its model can batch (Qwen-Image, Stable Diffusion 3, FLUX.1), start it with --max-num-seqs N.",
    )


def _finding(facts: ServerFacts, check: str, status: Status, detail: str, fix: str = "") -> Finding:
    return Finding(check=check, status=status, detail=detail, fix=fix, subject=facts.url)
