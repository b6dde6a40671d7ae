"""Receipt: what was asked for, what was sent, and what it took to get an answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_omni_client.errors import FailedAttempt

if TYPE_CHECKING:
    from vllm_omni_client.edits import ImageEditRequest
    from vllm_omni_client.models import ImageGenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """How a reply came about; made by the client, never read from the server.

    Attributes:
        requested: What the caller asked for.
        sent: What went over the wire: without what this server ignores, with what the client chose.
        ignored: Fields that the caller set and this server would have ignored in silence.
        warnings: What is not as it was asked for, a sentence each: another size, fewer pictures ...
        failures: The attempts before the one that succeeded.
        elapsed_seconds: From the call to the reply, waits between attempts included.
        server: The base URL of the server that answered, without credentials; "" where nobody said.
    """

    requested: "ImageGenerationRequest | ImageEditRequest"
    sent: "ImageGenerationRequest | ImageEditRequest"
    ignored_fields: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failures: tuple[FailedAttempt, ...] = ()
    elapsed_seconds: float = 0.0
    server: str = ""

    @property
    def seed(self) -> int | None:
        """The seed that was sent: the caller's, or one that the client drew."""
        return self.sent.seed

    @property
    def attempts(self) -> int:
        """How often the request was sent, or tried to be sent."""
        return len(self.failures) + 1
