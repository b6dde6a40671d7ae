"""Build and run the MCP server: register tools and resources, turn errors into text, serve on stdio."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
from mcp.server import MCPServer
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.request_state import RequestStateSecurity
from mcp.types import CallToolResult, Icon, InputRequiredResult, Tool
from pydantic import ValidationError
from vllm_image_core.errors import ImageError, InvalidRequest
from vllm_image_core.text import one_line
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.command_line import Command
from vllm_image_mcp.error_messages import explain, explain_arguments, explain_inability
from vllm_image_mcp.options import with_settings
from vllm_image_mcp.preloading import Preloader, modules_needed
from vllm_image_mcp.resources.completions import add_completions
from vllm_image_mcp.resources.gallery import gallery, tool_meta
from vllm_image_mcp.resources.prompts import PromptServer, add_prompts
from vllm_image_mcp.resources.resources import ResourceServer, add_resources
from vllm_image_mcp.resources.subscriptions import Subscriptions
from vllm_image_mcp.results.tool_reply import with_notes
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.shutdown import Shutdown, handle_signals
from vllm_image_mcp.startup import check_output_folder, check_profiles, start_logging
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.schemas import short_input, short_output
from vllm_image_mcp.tools.tool_manager import ImageToolManager
from vllm_image_mcp.transport.stdio import StdioHost, host_on_stdio

if TYPE_CHECKING:
    from vllm_image_mcp.telemetry.observer import Observer

_AT_THE_END_SECONDS = 1.5
"""How long images in progress may take once the host is gone; hosts kill a server after 2 s."""

_RESUME_SECONDS = 10.0
"""Interval at which a server over HTTP looks for batches that nobody works on any more."""

_logger = logging.getLogger(__name__)

_WEBSITE = "https://github.com/vllm-image/vllm-image"

_ICON = Icon(
    src=(
        "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20viewBox='0%200%2024%2024'%3E"
        "%3Cpath%20fill='%2330a'%20d='M0%200h24v24H0z'/%3E"
        "%3Cpath%20fill='%23fff'%20d='m3%2019%206-9%204%205%203-4%205%208zM16%205h3v3h-3z'/%3E%3C/svg%3E"
    ),
    mime_type="image/svg+xml",
    sizes=["any"],
)
"""Small, because each result of 2026-07-28 repeats it."""

_UNCHANGING = CacheHint(ttl_ms=300_000, scope="public")
_CACHE_HINTS: dict[CacheableMethod, CacheHint] = {
    "tools/list": _UNCHANGING,
    "prompts/list": _UNCHANGING,
    "resources/templates/list": _UNCHANGING,
    "server/discover": _UNCHANGING,
}
"""What is the same for all users until the server is restarted, for five minutes."""

_INSTRUCTIONS = """\
Generates images on a self-hosted vLLM-Omni server and saves them as files. Call generate_image for one image,
batch_generate for several, edit_image to change one. Omit settings you do not care about: the model's own
defaults apply. get_model_info shows what the model can do and how to write prompts for it; server_health
shows why nothing works. Long work returns status "running": call get_batch to keep waiting; list_batches
finds it again. To repeat a result, use its seed and parameters; find_images returns those of earlier images.
Describe an image only if you can see it: some hosts show it to you one turn later."""


class ImageServer(PromptServer, ResourceServer):
    """An MCP server that reports expected errors to the model as text, with the next step."""

    observer: "Observer | None" = None
    """Measures the calls; None if nothing is measured."""

    loading: Preloader | None = None
    """The imports for the first call, while they are in progress; None afterwards."""

    _tool_manager: ImageToolManager

    drain_limit_seconds: float = _AT_THE_END_SECONDS
    """How long images in progress may take once no host is connected any more."""

    _host: StdioHost | None = None
    """The host that is served over pipes."""

    def read_ahead(self, state: State) -> None:
        """Build the tools and read the model profiles ahead of the first call."""
        state.read_ahead()
        _ = self._tool_manager.signatures

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[State, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool, and turn expected errors into text.

        Raises:
            ToolError: An expected error, or invalid arguments, with the text for the model.
            UnexpectedToolError: A bug; its text appears only in the log.
        """
        if self.loading is not None:
            await self.loading.wait()
            self.loading = None
        signatures = self._tool_manager.signatures
        if name not in signatures:
            raise ToolError(f"Unknown tool: {one_line(name)}. Use one of: {', '.join(signatures)}.")
        with nullcontext() if self.observer is None else self.observer.call(name):
            return await self._call(name, arguments, context)

    async def _call(
        self, name: str, arguments: dict[str, Any], context: Context[State, Any] | None
    ) -> CallToolResult | InputRequiredResult:
        from vllm_image_mcp.tools.arguments import fit  # noqa: PLC0415 - the first call needs it

        signatures = self._tool_manager.signatures
        fitted = fit(name, arguments, signatures)
        known = list(signatures[name].parameters)
        try:
            result = await super().call_tool(name, fitted.arguments, context)
        except ToolError as error:
            match error.__cause__:
                case ValidationError() as cause:
                    raise ToolError(explain_arguments(name, cause, known)) from cause
                case (ImageError() | OmniError()) as cause if context is not None:
                    state = context.request_context.lifespan_context
                    text = explain(cause, server_url=state.server_url)
                    if isinstance(cause, InvalidRequest):
                        text = f"{text} {explain_inability(name, cause, state.registry)}".rstrip()
                    raise ToolError(text) from cause
                case _:
                    raise
        return with_notes(result, fitted.notes) if isinstance(result, CallToolResult) else result

    async def list_tools(self) -> list[Tool]:
        """List the tools with shortened descriptions and schemas."""
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

    def use_tools(self, tools: ImageToolManager) -> None:
        """Offer these tools, which other servers may have as well."""
        self._tool_manager = tools

    def add_subscriptions(self, subscriptions: Subscriptions) -> None:
        """Notify hosts of changes to resources."""
        subscriptions.serve_on(self._lowlevel_server)

    async def run_for(self, host: StdioHost) -> None:
        """Serve a host until either side ends the connection."""
        self._host = host
        options = self._lowlevel_server.create_initialization_options()
        await self._lowlevel_server.run(host.incoming, host.outgoing, options)

    @property
    def drain_seconds(self) -> float:
        """How long images in progress may still take when the connection has ended."""
        passed = self._host.seconds_since_end_of_input if self._host else 0.0
        return max(0.0, self.drain_limit_seconds - passed)


def build_server(
    settings: Settings, *, wired: bool = False, observer: "Observer | None" = None
) -> ImageServer:
    """Build the server with its tools, resources and prompts; it connects and writes nothing yet.

    It is wired if it will serve a host over a pipe rather than a client in this process. An observer measures
    its calls and images.
    """
    state = State(settings, wired=wired)
    state.observer = observer
    return _server_of(state)


def _server_of(state: State, tools: ImageToolManager | None = None) -> ImageServer:
    """Build the server of a state; the servers of several users can share their tools."""
    settings, subscriptions = state.settings, Subscriptions()
    state.listener = subscriptions.notify
    server = ImageServer(
        "vllm-image-mcp",
        title="vLLM image generation",
        version=version("vllm-image-mcp"),
        website_url=_WEBSITE,
        icons=[_ICON],
        cache_hints=_CACHE_HINTS,
        instructions=_INSTRUCTIONS,
        lifespan=_lifespan(state),
        log_level=settings.log_level,
        extensions=[gallery()],
        request_state_security=RequestStateSecurity(keys=[key]) if (key := state.question_key) else None,
        subscriptions=subscriptions.bus,
    )
    server.use_tools(tools or _tools(settings))
    server.observer = state.observer
    server.add_subscriptions(subscriptions)
    add_resources(server, state)
    add_prompts(server, state)
    add_completions(server, state)
    return server


def _tools(settings: Settings) -> ImageToolManager:
    return ImageToolManager(structured=settings.structured_content, meta=tool_meta)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory if it is installed; None selects asyncio's own loop.

    uvloop saves about 1 ms of CPU per tool call, as `benchmarks/mcp.py` measures it.
    """
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return new_event_loop


def serve(settings: Settings) -> None:
    """Serve MCP over the transport of the settings until the host or a signal ends it."""
    if settings.transport == "http":
        from vllm_image_mcp.transport.http_server import serve_http  # noqa: PLC0415 - stdio needs no HTTP server

        tools = _tools(settings)
        serve_http(settings, lambda state: _server_of(state, tools))
    else:
        serve_stdio(settings)


def serve_stdio(settings: Settings) -> None:
    """Serve MCP over stdin and stdout until stdin ends or a signal arrives.

    After the first signal, images in progress have some seconds to finish, as at a shell; the second stops
    the server at once. Either way, no incomplete image file remains.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # If one of them is closed, the next file to be opened gets its descriptor.
    if sys.__stdin__ is None or sys.__stdout__ is None:
        raise click.ClickException("An MCP server needs stdin and stdout, but one of them is closed.")
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        sys.stderr.write(
            "This MCP server is waiting for a host on stdin. Press Ctrl-C to stop it; see --help.\n"
        )
    state = State(settings, wired=True, in_background=not at_terminal)
    server = _server_of(state)
    gc.freeze()  # objects created so far live until the end, so the collector can skip them
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        ending = runner.run(_serve(server, state))
    ending.die()


async def _serve(server: ImageServer, state: State) -> Shutdown:
    loading = server.loading = Preloader(
        modules_needed(demo=state.settings.demo), partial(server.read_ahead, state)
    )
    try:
        async with host_on_stdio(on_answer=loading.begin) as host:
            ending = Shutdown(state, host)
            with handle_signals(ending.receive):
                await server.run_for(host)
    finally:
        loading.stop()
    return ending


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@partial(with_settings, serves_mcp=True)
def main(settings: Settings) -> None:
    """Serve MCP on stdin and stdout for an MCP host; for commands, use ``vllm-image-mcp``."""
    start_logging(settings)
    check_profiles(settings)
    check_output_folder(settings)
    serve(settings)


def _lifespan(state: State) -> Callable[[MCPServer[State]], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(server: MCPServer[State]) -> AsyncGenerator[State]:
        resuming = asyncio.create_task(_resume(state)) if state.settings.resume else None
        try:
            yield state
        finally:
            if resuming is not None:
                resuming.cancel()
                await asyncio.wait([resuming])
            if state.is_remote:
                await state.drain(server.drain_seconds if isinstance(server, ImageServer) else 0.0)
            await state.aclose()

    return lifespan


async def _resume(state: State) -> None:
    """Resume interrupted batches in the background, over HTTP including those of copies that have died."""
    while True:
        try:
            await state.tracker.resume_all()
        except (ImageError, OmniError) as error:
            _logger.warning("Interrupted batches were not resumed: %s", error)
        if state.settings.transport == "stdio":
            return
        await asyncio.sleep(_RESUME_SECONDS)


if __name__ == "__main__":
    main()
