"""Expand the arguments of batch_generate into image requests, for the call and its consent question."""

from collections.abc import Mapping, Sequence

from vllm_image_core.requests.expansion import PromptSource, Variations
from vllm_image_core.requests.fields import RequestValues, without_rare_fields
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.sweep import MOST_IMAGES

from vllm_image_mcp.state import State
from vllm_image_mcp.tools.checks import check_prompts, check_switch


def expand_prompts(
    state: State,
    prompts: Sequence[PromptSource],
    *,
    seeds: Sequence[int] | None,
    count: int | None,
    sweep: Mapping[str, Sequence[object]] | None,
    pairing: object,
    wildcards: object,
    values: RequestValues,
) -> list[ImageRequest]:
    """The requests of a call of batch_generate, in order; their seeds may be drawn later.

    Raises:
        InvalidRequest: An argument cannot be used, or there are too many prompts or images.
    """
    check_prompts(prompts, seeds)
    variations = Variations(
        count=count,
        sweep=sweep,
        zip=check_switch("zip", pairing, default=False),
        wildcards=check_switch("wildcards", wildcards, default=False),
    )
    shared = ImageRequest(prompt="", **without_rare_fields(values))
    given = [without_rare_fields(each) if isinstance(each, Mapping) else each for each in prompts]
    return state.studio.expansion(variations, shared).expand(given, seeds=seeds, most=MOST_IMAGES)
