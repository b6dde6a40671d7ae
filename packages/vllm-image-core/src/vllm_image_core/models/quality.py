"""Name the qualities that a request can ask for; a profile has a preset for each."""

from typing import Literal, get_args

__all__ = ["QUALITIES", "Quality"]

Quality = Literal["draft", "standard", "best"]
"""draft: quick and rough; standard: the profile's own settings; best: the publisher's, at any cost."""

QUALITIES: tuple[Quality, ...] = get_args(Quality)
