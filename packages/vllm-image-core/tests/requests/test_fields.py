"""The table of request fields agrees with the types of requests, and with the client's request types."""

import inspect
from dataclasses import fields
from typing import get_type_hints

import pytest
from vllm_image_core import EditRequest, ImageRequest, InvalidRequest, Studio
from vllm_image_core.requests import limits
from vllm_image_core.requests.fields import REQUEST_FIELDS, RequestValues, field_named, fields_shown_in
from vllm_image_core.requests.style import Style
from vllm_image_core.storage.record import Record
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationRequest

OF_EDITS = {each.name for each in REQUEST_FIELDS if each.of_edits}


def test_the_table_has_every_field_of_a_request_once() -> None:
    names = [each.name for each in REQUEST_FIELDS]
    assert sorted(names) == sorted({field.name for field in fields(EditRequest)} - {"seed_drawn"})
    assert set(names) - OF_EDITS == {field.name for field in fields(ImageRequest)} - {"seed_drawn"}
    assert list(RequestValues.__annotations__) == [
        name for name in names if name not in OF_EDITS | {"prompt"}
    ]


@pytest.mark.parametrize("name", list(RequestValues.__annotations__))
def test_a_field_has_one_type_everywhere(name: str) -> None:
    kind = field_named(name).type | None
    if name == "style":  # in Python, the style itself too
        kind = kind | Style
    hints = (get_type_hints(each)[name] for each in (ImageRequest, RequestValues))
    assert all(hint == kind for hint in hints)
    for method in (Studio.generate, Studio.edit):
        parameter = inspect.signature(method).parameters[name]
        assert (parameter.annotation, parameter.default) == (kind, None)


def test_everything_that_is_sent_or_indexed_exists() -> None:
    sent = {*ImageGenerationRequest.model_fields, *ImageEditRequest.model_fields}
    assert {each.wire for each in REQUEST_FIELDS if each.wire} <= sent
    assert {each.name for each in REQUEST_FIELDS if each.indexed} <= {field.name for field in fields(Record)}


@pytest.mark.parametrize("name", [each.name for each in REQUEST_FIELDS if each.kind in {"integer", "number"}])
def test_the_bounds_of_a_number_are_those_that_the_client_checks(name: str) -> None:
    models = (ImageEditRequest, ImageGenerationRequest)
    schemas = {key: value for each in models for key, value in each.model_json_schema()["properties"].items()}
    field = field_named(name)
    if field.wire is None:
        return
    schema = schemas[field.wire].get("anyOf", [schemas[field.wire]])[0]
    assert field.bounds == ((schema["minimum"], schema["maximum"]) if "minimum" in schema else None)


def test_every_field_that_is_shown_has_its_texts() -> None:
    for surface in ("generate_image", "batch_generate", "edit_image"):
        assert all(each.description for each in fields_shown_in(surface))
    for surface in ("generate", "batch", "edit"):
        assert all(each.help or each.description for each in fields_shown_in(surface))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_inference_steps", 201, "201 is out of range. Allowed: an integer from 1 to 200."),
        ("num_inference_steps", True, "True is not an integer. Allowed: an integer from 1 to 200."),
        ("guidance_scale", 20.5, "20.5 is out of range. Allowed: a number from 0 to 20."),
        ("guidance_scale", float("nan"), "nan is not a finite number. Allowed: a number from 0 to 20."),
        ("strength", "1", "'1' is not a number. Allowed: a number from 0 to 1."),
        ("layers", 1, "1 is out of range. Allowed: an integer from 2 to 10."),
        ("quality", "good", "'good' is not a quality. Allowed: one of draft, standard, best."),
        ("output_format", "gif", "'gif' is not a supported format. Allowed: one of png, jpeg, webp."),
    ],
)
def test_a_value_is_checked_by_the_table(name: str, value: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits.check(name, value)
    assert caught.value.message == f"{name}: {message}"
