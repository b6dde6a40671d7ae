"""A tag: the caller's own word for some pictures, to find them by."""

from typing import Final

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.parameters import bounds

MAX_CHARACTERS: Final = 100


def check_tag(tag: object) -> None:
    """Check a tag: a text on one line, or None.

    Raises:
        InvalidRequest: It is blank, too long, or has characters that cannot be printed.
    """
    if tag is None:
        return
    text = bounds.text("tag", tag, max_characters=MAX_CHARACTERS)
    if not text.strip() or not text.isprintable():
        raise InvalidRequest(
            "The tag is blank, or has a character that cannot be printed.",
            parameter="tag",
            value=tag,
            allowed=f"a text of 1 to {MAX_CHARACTERS} printable characters",
        )
