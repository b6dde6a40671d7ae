"""Name the qualities that a request can ask for; a profile has a preset for each."""

from typing import Literal

Quality = Literal["draft", "standard", "best"]
"""draft: quick and rough; standard: the profile's own settings; best: the publisher's, at any cost."""
