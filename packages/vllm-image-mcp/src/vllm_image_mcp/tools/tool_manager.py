"""Build the tools and their schemas when a client first asks for them, so that the server starts sooner."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.tools import Tool as RegisteredTool
from mcp.server.mcpserver.tools import ToolManager
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mcp.types import ToolAnnotations

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

    @cached_property
    def signatures(self) -> Mapping[str, Signature]:
        """The parameters of each tool by its name."""
        from vllm_image_mcp.tools.arguments import Signature  # noqa: PLC0415 - the first call needs it

        return {name: Signature.of(tool.parameters) for name, tool in self._by_name.items()}

    def get_tool(self, name: str) -> RegisteredTool | None:
        """Return a tool by its name; None if the name is unknown."""
        return self._by_name.get(name)

    def list_tools(self) -> list[RegisteredTool]:
        """Return all tools in the order in which hosts show them."""
        return [*self._by_name.values()]

    @cached_property
    def _by_name(self) -> Mapping[str, RegisteredTool]:
        from vllm_image_mcp.tools.registration import TOOLS  # noqa: PLC0415 - imports all tools

        built = (self._registered(function, title, annotations) for function, title, annotations in TOOLS)
        return {tool.name: tool for tool in built}

    def _registered(
        self, function: Callable[..., Awaitable[object]], title: str, annotations: ToolAnnotations
    ) -> RegisteredTool:
        tool = RegisteredTool.from_function(
            function,
            title=title,
            annotations=annotations,
            meta=self._meta(function.__name__),
            structured_output=None if self._structured else False,
        )
        return tool.model_copy(update={"fn_metadata": _TakenAsFitted(**dict(tool.fn_metadata))})


class _TakenAsFitted(FuncMetadata):
    """Tool metadata that does not parse the arguments, as `arguments.fit` has already done so.

    The SDK would parse strings as JSON again, and turn a negative prompt such as ``["blur"]`` into a list.
    """

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments unchanged."""
        return data
