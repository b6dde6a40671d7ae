"""What an error says to the model that called a tool: what happened, what is allowed, what to do next."""

from pydantic import ValidationError
from vllm_image_core.errors import ImageError
from vllm_image_core.text import one_line
from vllm_omni_client.errors import OmniError, OutOfGpuMemory, ServerUnreachable

__all__ = ["explain", "explain_arguments", "explain_unknown"]


def explain(error: ImageError | OmniError, *, server_url: str) -> str:
    """The text of an expected failure, in the words that the plan gives where it gives any."""
    return " ".join([_what_happened(error, server_url), *getattr(error, "__notes__", [])])


def explain_arguments(tool: str, error: ValidationError, allowed: list[str]) -> str:
    """The text for arguments that do not fit the tool's schema, without the validator's own wording."""
    wrong = "; ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
    )
    return f"{tool} was called with wrong arguments: {wrong}. Its parameters are: {', '.join(allowed)}."


def explain_unknown(tool: str, unknown: list[str], allowed: list[str]) -> str:
    """The text for arguments that the tool does not have: a typing error must not make another picture."""
    named = ", ".join(f"'{one_line(name)}'" for name in unknown)
    return f"{tool} has no parameter {named}. Its parameters are: {', '.join(allowed) or 'none'}."


def _what_happened(error: ImageError | OmniError, server_url: str) -> str:
    match error:
        case ServerUnreachable():
            return (
                f"Cannot connect to vLLM server at {server_url}. Is the container running? "
                f"Check with `server_health` tool."
            )
        case OutOfGpuMemory():
            return (
                "Server returned out-of-memory error. Try reducing resolution or use `gpu_status` "
                "to check available memory."
            )
        case _:
            return f"{error.message} {error.next_step}".strip()
