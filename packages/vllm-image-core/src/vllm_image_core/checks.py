"""Check that a value is an integer within bounds, and build the error for a value that is not."""

from numbers import Integral

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import brief


def check_integer(parameter: str, value: object, least: int, most: int, *, allowed: str) -> int:
    """Return the value as an int if it is an integer within bounds; True, "7" and 7.0 do not count.

    Args:
        parameter: The parameter's name, for the message.
        value: The value as the caller gave it.
        least: The smallest value allowed.
        most: The largest value allowed.
        allowed: What is allowed, in words, for the message.

    Raises:
        InvalidRequest: The value is not an integer, or is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise invalid_value(parameter, value, "is not an integer", allowed)
    number = int(value)
    if not least <= number <= most:
        raise invalid_value(parameter, value, "is out of range", allowed)
    return number


def invalid_value(parameter: str, value: object, fault: str, allowed: str) -> InvalidRequest:
    """Build the error for a value that is not allowed; the caller raises it."""
    return InvalidRequest(
        f"{parameter}: {brief(value)} {fault}. Allowed: {allowed}.",
        parameter=parameter,
        value=value,
        allowed=allowed,
    )
