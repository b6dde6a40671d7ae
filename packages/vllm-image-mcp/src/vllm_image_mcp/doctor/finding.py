"""Finding: the result of one check, with the fix if something is wrong."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "info", "warning", "failed"]
"""How a check ended.

ok: as it should be.
info: worth knowing; nothing is wrong.
warning: images can be generated, but not as well as they could be.
failed: no image can be generated or saved until this is fixed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        check: The name of the check, such as "connection".
        status: How it ended.
        detail: What was found, in a sentence.
        fix: What to do about it, in a sentence or two; "" if nothing has to be done.
        subject: The server, folder or setting that was checked; "" for the installation itself.
    """

    check: str
    status: Status
    detail: str
    fix: str = ""
    subject: str = ""
