"""A request is adapted to a server: ignored fields are refused, and options that save bandwidth are added."""

import pytest
from vllm_omni_client._protocol.adaptation import adapt_edit, adapt_generation, with_seed
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import UnsupportedParameter
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.uploads import Upload

FOX = ImageGenerationRequest(prompt="a fox", seed=7)
IMAGE = Upload(field="image", format="png", content=b"x")
MASK = Upload(field="mask_image", format="png", content=b"y")


def server(version: str) -> Capabilities:
    return Capabilities.of_version(version)


def with_(request: ImageGenerationRequest, **fields: object) -> ImageGenerationRequest:
    return request.model_copy(update=fields)


@pytest.mark.parametrize("version", ["0.14.0", "0.20.0", "0.26.0"])
def test_a_plain_request_goes_to_an_older_server_unchanged(version: str) -> None:
    assert adapt_generation(FOX, server(version), strict=True).sent == FOX


def test_a_missing_seed_is_drawn_and_a_given_one_is_kept() -> None:
    assert with_seed(FOX) is FOX
    assert with_seed(with_(FOX, seed=0)).seed == 0
    edit = with_seed(ImageEditRequest(prompt="blue"))
    assert edit.seed
    assert edit == ImageEditRequest(prompt="blue", seed=edit.seed)


def test_a_drawn_seed_does_not_count_as_requested() -> None:
    asked = ImageGenerationRequest(prompt="a fox")
    fitted = adapt_generation(FOX, server("0.20.0"), strict=True, requested=asked)
    assert (fitted.requested, fitted.sent) == (asked, FOX)


def test_a_compressed_png_is_requested_if_the_server_supports_it() -> None:
    fitted = adapt_generation(FOX, server("0.30.0"), strict=True)
    assert fitted.sent == with_(FOX, output_compression=90)
    assert (fitted.requested, fitted.ignored, fitted.warnings) == (FOX, (), ())


@pytest.mark.parametrize("fields", [{"output_format": "jpeg"}, {"output_compression": 100}])
def test_a_quality_or_a_choice_of_the_caller_is_kept(fields: dict[str, object]) -> None:
    request = with_(FOX, **fields)
    assert adapt_generation(request, server("0.30.0"), strict=True).sent == request


@pytest.mark.parametrize(
    ("version", "field", "value"),
    [
        ("0.14.0", "output_format", "webp"),
        ("0.14.0", "layers", 4),
        ("0.20.0", "flow_shift", 2.0),
        ("0.20.0", "response_format", "file"),
        ("0.26.0", "output_compression", 50),
        ("0.26.0", "return_stage_metrics", True),
    ],
)
def test_what_a_server_would_ignore_is_refused_or_reported(version: str, field: str, value: object) -> None:
    request = with_(FOX, **{field: value})
    with pytest.raises(UnsupportedParameter, match=f"vLLM-Omni {version} does not support {field}") as caught:
        adapt_generation(request, server(version), strict=True)
    assert (caught.value.parameter, caught.value.version) == (field, version)
    lenient = adapt_generation(request, server(version), strict=False)
    assert (lenient.sent, lenient.ignored, lenient.requested) == (FOX, (field,), request)


@pytest.mark.parametrize(
    ("version", "field", "value"),
    [
        ("0.14.0", "output_format", "png"),
        ("0.18.0", "output_format", "png"),
        ("0.20.0", "extra_params", {}),
        ("0.20.0", "response_format", "b64_json"),
        ("0.26.0", "output_compression", 100),
        ("0.26.0", "return_stage_metrics", False),
    ],
)
def test_a_value_that_the_server_uses_anyway_is_omitted_and_not_refused(
    version: str, field: str, value: object
) -> None:
    request = with_(FOX, **{field: value})
    fitted = adapt_generation(request, server(version), strict=True)
    assert (fitted.requested, fitted.ignored, fitted.warnings) == (request, (), ())
    assert getattr(fitted.sent, field) in {None, "b64_json"}
    edit = ImageEditRequest(prompt="blue", output_format="png", return_stage_metrics=False)
    assert adapt_edit(edit, (IMAGE,), server("0.14.0"), strict=True)[0].sent == edit.model_copy(
        update={"return_stage_metrics": None}
    )


def test_nothing_is_refused_for_a_server_that_says_nothing() -> None:
    request = with_(FOX, response_format="file", layers=3, output_compression=None)
    assert adapt_generation(request, Capabilities(), strict=True, into_file=True).sent == request


@pytest.mark.parametrize(
    ("version", "fields", "sent_as"),
    [
        ("0.26.0", {}, "file"),
        ("0.20.0", {}, None),
        ("0.30.0", {"response_format": "b64_json"}, "b64_json"),
        ("0.30.0", {"return_stage_metrics": True}, None),
    ],
)
def test_the_bytes_of_the_image_are_requested_if_nothing_is_lost(
    version: str, fields: dict[str, object], sent_as: str | None
) -> None:
    fitted = adapt_generation(with_(FOX, **fields), server(version), strict=True, into_file=True)
    assert fitted.sent.response_format == sent_as


@pytest.mark.parametrize(("version", "warned"), [("0.14.0", True), ("0.20.0", True), ("0.26.0", False)])
def test_a_guidance_of_zero_that_is_treated_as_one_is_reported(version: str, *, warned: bool) -> None:
    fitted = adapt_generation(with_(FOX, guidance_scale=0.0), server(version), strict=True)
    assert fitted.warnings == ((f"vLLM-Omni {version} treats a guidance_scale of 0 as 1.",) if warned else ())


def test_an_image_that_an_old_server_would_ignore_is_refused_or_not_sent() -> None:
    request = ImageEditRequest(prompt="blue")
    with pytest.raises(UnsupportedParameter, match="mask_image"):
        adapt_edit(request, (IMAGE, MASK), server("0.14.0"), strict=True)
    fitted, pictures = adapt_edit(request, (IMAGE, MASK), server("0.14.0"), strict=False)
    assert (fitted.ignored, pictures) == (("mask_image",), (IMAGE,))
    assert adapt_edit(request, (IMAGE, MASK), server("0.20.0"), strict=True)[1] == (IMAGE, MASK)


def test_a_seed_of_zero_that_is_treated_as_missing_is_refused() -> None:
    request = ImageEditRequest(prompt="blue", seed=0)
    with pytest.raises(UnsupportedParameter, match="seed"):
        adapt_edit(request, (IMAGE,), server("0.14.0"), strict=True)
    assert adapt_edit(request, (IMAGE,), server("0.20.0"), strict=True)[0].sent == request
