import copy
import pickle
from collections.abc import Callable

import pytest
from vllm_image_core.errors import (
    BadPicture,
    BadProfile,
    CannotSave,
    ImageError,
    InvalidRequest,
    UnknownBatch,
)


def invalid() -> InvalidRequest:
    return InvalidRequest(
        "Width 1000 is not a multiple of 16.", parameter="width", value=1000, allowed="multiples of 16"
    )


@pytest.mark.parametrize("kind", [InvalidRequest, BadProfile, BadPicture, CannotSave, UnknownBatch])
def test_every_error_of_the_package_is_an_image_error(kind: type[ImageError]) -> None:
    assert issubclass(kind, ImageError)


@pytest.mark.parametrize("kind", [ImageError, BadProfile, BadPicture, CannotSave, UnknownBatch])
def test_an_error_says_what_to_do_next_even_if_it_was_raised_without_it(kind: type[ImageError]) -> None:
    assert kind("It broke.").next_step == kind.usual_next_step
    assert kind.usual_next_step.endswith(".")


def test_a_next_step_given_at_the_raise_wins() -> None:
    assert CannotSave("The disk is full.", next_step="Free 3 MB.").next_step == "Free 3 MB."


def test_an_error_reads_as_its_message() -> None:
    assert str(invalid()) == invalid().message == "Width 1000 is not a multiple of 16."


def test_an_invalid_request_without_a_next_step_says_what_is_allowed() -> None:
    assert invalid().next_step == "Correct width and call again."


def pickled(error: InvalidRequest) -> InvalidRequest:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own pickle


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickled])
def test_an_error_keeps_its_data_in_a_copy_and_a_pickle(
    twin: Callable[[InvalidRequest], InvalidRequest],
) -> None:
    error = twin(invalid())
    assert type(error) is InvalidRequest
    assert (str(error), vars(error)) == (str(invalid()), vars(invalid()))
