"""CallReport: report what was requested, what was sent, and how many attempts a reply took."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_omni_client.errors import FailedAttempt

if TYPE_CHECKING:
    from vllm_omni_client.edits import ImageEditRequest
    from vllm_omni_client.models import ImageGenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """How a reply came about; written by the client, never read from the server.

    Attributes:
        requested: What the caller asked for.
        sent: What the client sent: no fields that this server ignores, plus values that the client chose.
        ignored_fields: Fields that the caller set and this server would have silently ignored.
        unconfirmed_fields: Fields that were sent, without any sign that this server reads them: nothing shows
            that it is a vLLM-Omni, and it does not describe itself.
        warnings: How the result differs from the request (another size, fewer images ...), a sentence each.
        failures: The attempts before the one that succeeded.
        elapsed_seconds: From the call to the reply, including waits between attempts.
        server: The base URL of the server that answered, without credentials; "" if it is not known.
    """

    requested: "ImageGenerationRequest | ImageEditRequest"
    sent: "ImageGenerationRequest | ImageEditRequest"
    ignored_fields: tuple[str, ...] = ()
    unconfirmed_fields: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failures: tuple[FailedAttempt, ...] = ()
    elapsed_seconds: float = 0.0
    server: str = ""

    @property
    def seed(self) -> int | None:
        """The seed that was sent: the caller's, or one drawn by the client."""
        return self.sent.seed

    @property
    def attempts(self) -> int:
        """How often the client sent the request or tried to."""
        return len(self.failures) + 1
