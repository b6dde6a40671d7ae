"""Check that a value is an integer in its range, and say what is allowed if it is not."""

from numbers import Integral

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import shown


def integer(parameter: str, value: object, least: int, most: int, *, allowed: str) -> int:
    """An integer within bounds; True, "7" and 7.0 are none.

    Raises:
        InvalidRequest: It is not an integer or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise refusal(parameter, value, "is not an integer", allowed)
    number = int(value)
    if not least <= number <= most:
        raise refusal(parameter, value, "is out of range", allowed)
    return number


def refusal(parameter: str, value: object, fault: str, allowed: str) -> InvalidRequest:
    """The error for a value that is not allowed; the caller raises it."""
    return InvalidRequest(
        f"{parameter}: {shown(value)} {fault}. Allowed is {allowed}.",
        parameter=parameter,
        value=value,
        allowed=allowed,
    )
