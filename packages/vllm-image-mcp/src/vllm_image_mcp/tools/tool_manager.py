"""Build the tools and their schemas when a client first asks for them, so that the server starts sooner."""

from __future__ import annotations

import functools
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.tools import Tool as RegisteredTool
from mcp.server.mcpserver.tools import ToolManager
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vllm_image_mcp.tools.arguments import Signature

__all__ = ["ImageToolManager"]


class ImageToolManager(ToolManager):
    """The tools of one server, or of the servers of several users.

    Args:
        structured: Whether results have structured content, and tools say what it looks like.
        meta: Returns the metadata of a tool by its name; None for none.
    """

    def __init__(self, *, structured: bool, meta: Callable[[str], dict[str, Any] | None]) -> None:
        super().__init__()
        self._structured = structured
        self._meta = meta

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The parameters of each tool by its name."""
        return _signatures(structured=self._structured)

    def get_tool(self, name: str) -> RegisteredTool | None:
        """Return a tool by its name; None if the name is unknown."""
        return self._by_name.get(name)

    def list_tools(self) -> list[RegisteredTool]:
        """Return all tools in the order in which hosts show them."""
        return [*self._by_name.values()]

    @cached_property
    def _by_name(self) -> Mapping[str, RegisteredTool]:
        tools = _build_tools(structured=self._structured)
        return {name: tool.model_copy(update={"meta": self._meta(name)}) for name, tool in tools.items()}


@functools.cache
def _build_tools(*, structured: bool) -> Mapping[str, RegisteredTool]:
    """Build the tools with their schemas, once for all servers of a process."""
    from vllm_image_mcp.tools.registration import TOOLS  # noqa: PLC0415 - imports all tools

    built = (
        RegisteredTool.from_function(
            function, title=title, annotations=annotations, structured_output=None if structured else False
        )
        for function, title, annotations in TOOLS
    )
    return {
        tool.name: tool.model_copy(update={"fn_metadata": _TakenAsFitted(**dict(tool.fn_metadata))})
        for tool in built
    }


@functools.cache
def _signatures(*, structured: bool) -> Mapping[str, Signature]:
    """Read the parameters of each tool, once for all servers of a process."""
    from vllm_image_mcp.tools.arguments import Signature  # noqa: PLC0415 - the first call needs it

    return {name: Signature.of(tool.parameters) for name, tool in _build_tools(structured=structured).items()}


class _TakenAsFitted(FuncMetadata):
    """Tool metadata that does not parse the arguments, as `arguments.fit` has already done so.

    The SDK would parse strings as JSON again, and turn a negative prompt such as ``["blur"]`` into a list.
    """

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments unchanged."""
        return data
