"""Ask the user before a batch that will take longer than --confirm-over allows."""

from typing import Any, Final, Unpack

from mcp.server.mcpserver import Context, Elicit
from pydantic import BaseModel, Field
from vllm_image_core.errors import ImageError, InvalidRequest
from vllm_image_core.requests.fields import RequestValues
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.state import State
from vllm_image_mcp.tools.parameters import with_fields_of

_STEPS: Final = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1_200, 1_800, 2_700, 3_600)
"""Rounded times in seconds: the question has to read the same when it is asked again."""


class Consent(BaseModel):
    """The user's answer."""

    go_on: bool = Field(default=True, description="Generate these images.")


@with_fields_of("batch_generate")
async def consent(
    ctx: Context[State],
    *,
    prompts: Any,  # noqa: ANN401 - checked by `expand_prompts`, as all arguments
    seeds: Any,  # noqa: ANN401 - likewise
    count: Any,  # noqa: ANN401 - likewise
    sweep: Any,  # noqa: ANN401 - likewise
    zip: Any,  # noqa: A002, ANN401 - likewise
    wildcards: Any,  # noqa: ANN401 - likewise
    dry_run: Any,  # noqa: ANN401 - likewise
    **values: Unpack[RequestValues],
) -> Elicit[Consent] | Consent:
    """Ask the user if the batch is estimated to take longer than ``--confirm-over``; otherwise agree.

    If the user has to be asked and the host cannot ask, the request is refused.
    """
    state = ctx.request_context.lifespan_context
    limit = state.settings.confirm_over
    if limit is None or dry_run:
        return Consent()
    from vllm_image_core.storage.disk_space import format_size  # noqa: PLC0415 - the server starts without it

    from vllm_image_mcp.tools.expansion import expand_prompts  # noqa: PLC0415 - likewise

    try:
        requests = expand_prompts(
            state,
            prompts,
            seeds=seeds,
            count=count,
            sweep=sweep,
            pairing=zip,
            wildcards=wildcards,
            values=values,
        )
        expected = await state.studio.batch(requests).forecast()
    except (ImageError, OmniError):
        return Consent()  # the call itself reports the error
    if expected.eta.seconds is None or expected.eta.seconds <= limit:
        return Consent()
    about = _format_seconds(expected.eta.seconds)
    if not can_ask(ctx):
        allowed = f"a batch that is estimated to take at most {limit:g} s"
        raise InvalidRequest(
            f"These {expected.images} images will take about {about}, over the limit of {limit:g} s set by "
            "--confirm-over, and this host cannot ask its user.",
            parameter="prompts",
            value=expected.images,
            allowed=allowed,
            next_step=f"Ask the user; then request fewer or smaller images, or fewer steps: {allowed}.",
        )
    disk = format_size(expected.bytes)
    return Elicit(
        f"{expected.images} images will take about {about} on the GPU and up to {disk} of disk space. "
        "Generate them?",
        Consent,
    )


def can_ask(ctx: Context[State]) -> bool:
    """Whether the host can ask its user to fill in a form."""
    capabilities = ctx.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _format_seconds(seconds: float) -> str:
    step = next((step for step in _STEPS if seconds <= step), None)
    if step is None:
        return f"{round(seconds / 3_600) or 1} h"
    return f"{step} s" if step < 90 else f"{step / 60:g} min"  # noqa: PLR2004 - as people say it
