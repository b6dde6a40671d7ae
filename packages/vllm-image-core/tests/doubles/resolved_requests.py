"""Resolve requests for a profile, or return the refusal."""

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

REGISTRY = Registry.builtin()
KLEIN = REGISTRY.find("FLUX.2-klein-4B").profile
QWEN = REGISTRY.find("Qwen-Image-2512").profile


def resolved(profile: Profile = KLEIN, /, **asked: object) -> ResolvedRequest:
    return resolve(request(**asked), profile, draw_seed=lambda: 42)


def request(**asked: object) -> ImageRequest:
    """A request with values of any type, as they come from outside."""
    return ImageRequest(**{"prompt": "a red fox", **asked})  # type: ignore[arg-type] -- the point of the tests


def refused(profile: Profile = KLEIN, /, **asked: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        resolve(request(**asked), profile, draw_seed=lambda: pytest.fail("a seed was drawn for nothing"))
    assert caught.value.next_step
    assert caught.value.allowed
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()
    return caught.value


def said(result: ResolvedRequest) -> dict[str, str]:
    return {note.parameter: note.message for note in result.notes}
