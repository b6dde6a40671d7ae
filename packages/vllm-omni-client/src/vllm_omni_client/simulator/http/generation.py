"""Check the body of POST /v1/images/generations in the server's order and parse it into a request."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import cast

from vllm_omni_client.simulator.http.generation_request import (
    GenerationBody,
    ResponseFormat,
    check_lora,
    parse_size,
)
from vllm_omni_client.simulator.http.http_error import HttpError
from vllm_omni_client.simulator.http.parsed_request import (
    Adapter,
    ParsedRequest,
    check_model,
    check_size,
    failure,
)
from vllm_omni_client.simulator.http.release import Release

ROUTE = "Image generation"


def parse(request: GenerationBody, *, model: str, max_pixels: int | None, release: Release) -> ParsedRequest:
    """Parse the body after making every check that the server makes before it queues a request.

    Raises:
        HttpError: A check fails; the status and message are the server's.
    """
    check_model(request.model, served=model, release=release)
    try:
        adapter = check_lora(request.lora) if request.lora is not None else None
        size = parse_size(request.size) if request.size is not None else (None, None)
    except ValueError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, str(error)) from error
    except (TypeError, OverflowError) as error:
        raise failure(ROUTE, error) from error
    if release.limits_generated_size:
        check_size(*size, max_pixels=max_pixels, release=release)
    return _to_parsed_request(request, adapter, size, release)


def _to_parsed_request(
    request: GenerationBody,
    adapter: Adapter | None,
    size: tuple[int | None, int | None],
    release: Release,
) -> ParsedRequest:
    tunable = "output_compression" not in release.lacks_generation_fields
    return ParsedRequest(
        route=ROUTE,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        n=request.n,
        width=size[0],
        height=size[1],
        steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        true_cfg_scale=request.true_cfg_scale,
        seed=request.seed,
        generator_device=request.generator_device,
        adapter=adapter,
        written_size=request.size,
        output_format=request.output_format or "png",
        output_compression=request.output_compression if tunable else release.default_compression,
        as_file=request.response_format == ResponseFormat.FILE,
        stage_metrics=bool(request.return_stage_metrics),
        nesting=_nesting(request.extra_params),
    )


def _nesting(parameters: object) -> int:
    """Return how deep objects and lists are nested; 0 for a plain value."""
    depth = 0
    level = [parameters]
    while True:
        inner = [member for each in level for member in _members(each)]
        if not any(isinstance(each, dict | list) for each in level):
            return depth
        depth += 1
        level = inner


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()
