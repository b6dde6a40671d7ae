"""Ask the user before a batch that will take longer than --confirm-over allows."""

import math
from typing import Final, cast

from mcp.server.mcpserver import Context, Elicit
from pydantic import BaseModel, Field
from vllm_image_core.errors import ImageError, InvalidRequest
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.state import State

_STEPS: Final = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1_200, 1_800, 2_700, 3_600)
"""Rounded times in seconds: the question has to read the same when it is asked again."""


class Consent(BaseModel):
    """The user's answer."""

    go_on: bool = Field(default=True, description="Generate these images.")


async def consent(
    ctx: Context[State],
    *,
    prompts: object,
    sweep: object,
    width: int | None,
    height: int | None,
    num_inference_steps: int | None,
) -> Elicit[Consent] | Consent:
    """Ask the user if the batch is estimated to take longer than ``--confirm-over``; otherwise agree.

    If the user has to be asked and the host cannot ask, the request is refused.
    """
    state = ctx.request_context.lifespan_context
    limit = state.settings.confirm_over
    count = _image_count(prompts, sweep)
    if limit is None or not count:
        return Consent()
    try:
        estimate = await state.studio.estimate(
            num_images=count, width=width, height=height, num_inference_steps=num_inference_steps
        )
    except (ImageError, OmniError):
        return Consent()  # the call itself reports the error
    if estimate.total_seconds <= limit:
        return Consent()
    about = _format_seconds(estimate.total_seconds)
    if not can_ask(ctx):
        allowed = f"a batch that is estimated to take at most {limit:g} s"
        raise InvalidRequest(
            f"These {count} images will take about {about}, over the limit of {limit:g} s set by "
            "--confirm-over, and this host cannot ask its user.",
            parameter="prompts",
            value=count,
            allowed=allowed,
            next_step=f"Ask the user; then request fewer or smaller images, or fewer steps: {allowed}.",
        )
    return Elicit(f"{count} images will take about {about} on the GPU. Generate them?", Consent)


def can_ask(ctx: Context[State]) -> bool:
    """Whether the host can ask its user to fill in a form."""
    capabilities = ctx.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _image_count(prompts: object, sweep: object) -> int:
    """How many images a call asks for; 0 if that is unclear, in which case the call itself reports why."""
    lists = [prompts, *(cast("dict[str, object]", sweep).values() if isinstance(sweep, dict) else ())]
    return math.prod(len(cast("list[object]", each)) if isinstance(each, list) else 0 for each in lists)


def _format_seconds(seconds: float) -> str:
    step = next((step for step in _STEPS if seconds <= step), None)
    if step is None:
        return f"{round(seconds / 3_600) or 1} h"
    return f"{step} s" if step < 90 else f"{step / 60:g} min"  # noqa: PLR2004 - as people say it
