"""The MCP server: its tools behind one error boundary, and its life from the first request to the last."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import click
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool as RegisteredTool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp.types import CallToolResult, InputRequiredResult, Tool, ToolAnnotations
from pydantic import ValidationError
from vllm_image_core.errors import ImageError, InvalidRequest
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.error_messages import explain, explain_arguments, explain_inability
from vllm_image_mcp.event_loop import loop_factory
from vllm_image_mcp.options import with_settings
from vllm_image_mcp.preloading import Loading, modules_needed
from vllm_image_mcp.resources.completions import add_completions
from vllm_image_mcp.resources.gallery import gallery, tool_meta
from vllm_image_mcp.resources.prompts import PromptServer, add_prompts
from vllm_image_mcp.resources.resources import ResourceServer, add_resources
from vllm_image_mcp.resources.subscriptions import Subscriptions
from vllm_image_mcp.results.tool_reply import with_notes
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.shutdown import Shutdown, shut_down_on_signals
from vllm_image_mcp.startup import check_profiles, start_logging
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.arguments import Signature, fit
from vllm_image_mcp.tools.registration import TITLES, TOOLS
from vllm_image_mcp.tools.schemas import short_input, short_output
from vllm_image_mcp.transport.stdio import StdioHost, host_on_stdio

_AT_THE_END_SECONDS = 1.5
"""How long images in progress may take when the host has gone: hosts kill a server that lives on for 2 s."""

__all__ = ["ImageServer", "build_server", "main", "serve"]

_logger = logging.getLogger(__name__)

_INSTRUCTIONS = """\
Makes pictures on a self-hosted vLLM-Omni server and saves them as files. Call generate_image for one picture,
batch_generate for up to 20, edit_image to change one. Leave out what you do not care about: the model's own
settings are used. get_model_info tells what the model can do and how to write prompts for it; server_health
tells why nothing works. What takes long is answered with status "running": get_batch waits on, and
list_batches finds it again. Repeat a result with its seed and parameters; find_images has those of earlier
pictures. Describe an image only if you can see it: some hosts show it to you one turn later."""


class ImageServer(PromptServer, ResourceServer):
    """An MCP server whose expected failures reach the model as text that tells what to do next."""

    loading: Loading | None = None
    """What is still being imported for the first call."""

    _signatures: Mapping[str, Signature] = MappingProxyType({})
    """The parameters of each tool, by the tool's name, once one was called."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[State, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; this is the boundary at which errors become text.

        Raises:
            ToolError: With the text of an expected failure, or of arguments that do not fit.
            UnexpectedToolError: A bug; its text stays in the log.
        """
        if self.loading is not None:
            await self.loading.wait()
            self.loading = None
        signatures = await self._all_signatures()
        if name not in signatures:
            return await super().call_tool(name, arguments, context)
        fitted = fit(name, arguments, signatures)
        known = list(signatures[name].parameters)
        try:
            result = await super().call_tool(name, fitted.arguments, context)
        except ToolError as error:
            match error.__cause__:
                case ValidationError() as cause:
                    raise ToolError(explain_arguments(name, cause, known)) from cause
                case (ImageError() | OmniError()) as cause if context is not None:
                    raise ToolError(
                        _explain(name, cause, context.request_context.lifespan_context)
                    ) from cause
                case _:
                    raise
        return with_notes(result, fitted.notes) if isinstance(result, CallToolResult) else result

    async def list_tools(self) -> list[Tool]:
        """The tools, with schemas as short as they can be."""
        return [
            tool.model_copy(
                update={
                    "description": " ".join((tool.description or "").split()),
                    "input_schema": short_input(tool.input_schema),
                    "output_schema": tool.output_schema and short_output(tool.output_schema),
                }
            )
            for tool in await super().list_tools()
        ]

    def add_subscriptions(self, subscriptions: Subscriptions) -> None:
        """Notify hosts of what changes."""
        subscriptions.serve_on(self._lowlevel_server)

    async def run_for(self, host: StdioHost) -> None:
        """Serve a host until it ends the connection, or is ended."""
        options = self._lowlevel_server.create_initialization_options()
        await self._lowlevel_server.run(host.incoming, host.outgoing, options)

    async def _all_signatures(self) -> Mapping[str, Signature]:
        if not self._signatures:
            listed = await super().list_tools()
            self._signatures = {tool.name: Signature.of(tool.input_schema) for tool in listed}
        return self._signatures


def build_server(settings: Settings, *, wired: bool = False) -> ImageServer:
    """The server with all that it offers; nothing is connected or written before it is used.

    Args:
        settings: As the user gave them.
        wired: Whether it will talk over a wire, and not to a client in this process.
    """
    return _server_of(State(settings, wired=wired))


def _server_of(state: State) -> ImageServer:
    settings, subscriptions = state.settings, Subscriptions()
    state.listener = subscriptions.hear
    server = ImageServer(
        "vllm-image-mcp",
        title="vLLM image generation",
        version=version("vllm-image-mcp"),
        instructions=_INSTRUCTIONS,
        lifespan=_lifespan(state),
        log_level=settings.log_level,
        extensions=[gallery()],
        subscriptions=subscriptions.bus,
        tools=[_tool(function, annotations, settings) for function, annotations in TOOLS],
    )
    server.add_subscriptions(subscriptions)
    add_resources(server, state)
    add_prompts(server, state)
    add_completions(server, state)
    return server


class _TakenAsFitted(FuncMetadata):
    """A tool's metadata that leaves its arguments as they are: `arguments.fit` has read them.

    The SDK would read text as JSON once more, and make a list of a negative prompt such as ``["blur"]``.
    """

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """The same arguments."""
        return data


def _tool(
    function: Callable[..., Awaitable[object]], annotations: ToolAnnotations, settings: Settings
) -> RegisteredTool:
    tool = RegisteredTool.from_function(
        function,
        title=TITLES[function.__name__],
        annotations=annotations,
        meta=tool_meta(function.__name__),
        structured_output=None if settings.structured_content else False,
    )
    return tool.model_copy(update={"fn_metadata": _TakenAsFitted(**dict(tool.fn_metadata))})


def serve(settings: Settings) -> None:
    """Serve MCP over stdin and stdout until stdin ends, or a signal comes.

    At a signal, images in progress have some seconds to end, as at a shell; at the second, it ends at once.
    Pictures are written whole or not at all, whenever that is.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # With one of them closed, its number goes to the next file that is opened, whatever it is.
    if sys.__stdin__ is None or sys.__stdout__ is None:
        raise click.ClickException("An MCP server needs stdin and stdout, and one of them is closed.")
    if sys.stdin.isatty():
        sys.stderr.write("An MCP server, waiting for a host on stdin. Ctrl-C ends it; --help tells more.\n")
    state = State(settings, wired=True)
    server = _server_of(state)
    gc.freeze()  # what is here by now stays to the end: no collection has to go through it again
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        ending = runner.run(_serve(server, state))
    ending.die()


async def _serve(server: ImageServer, state: State) -> Shutdown:
    loading = server.loading = Loading(modules_needed(demo=state.settings.demo))
    try:
        async with host_on_stdio(on_answer=loading.begin) as host:
            ending = Shutdown(state, host)
            with shut_down_on_signals(ending):
                await server.run_for(host)
    finally:
        loading.stop()
    return ending


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@with_settings
def main(settings: Settings) -> None:
    """Serve MCP on stdin and stdout, for an MCP host; ``vllm-image-mcp`` has the commands, too."""
    start_logging(settings)
    check_profiles(settings)
    serve(settings)


def _lifespan(state: State) -> Callable[[MCPServer[State]], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(_: MCPServer[State]) -> AsyncGenerator[State]:
        resuming = asyncio.create_task(_resume(state)) if state.settings.resume else None
        try:
            yield state
        finally:
            if resuming is not None:
                resuming.cancel()
                await asyncio.wait([resuming])
            if state.wired:
                await state.drain(_AT_THE_END_SECONDS)
            await state.aclose()

    return lifespan


async def _resume(state: State) -> None:
    """Go on with what was cut off; the server answers its host meanwhile."""
    try:
        await state.tracker.resume_all()
    except (ImageError, OmniError) as error:
        _logger.warning("No batch goes on: %s", error)


def _explain(tool: str, error: ImageError | OmniError, state: State) -> str:
    text = explain(error, server_url=state.server_url)
    able = explain_inability(tool, error, state.registry) if isinstance(error, InvalidRequest) else ""
    return f"{text} {able}" if able else text


if __name__ == "__main__":
    main()
