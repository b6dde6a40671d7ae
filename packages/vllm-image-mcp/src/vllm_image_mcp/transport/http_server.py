"""Serve MCP over HTTP to one user or several, until a signal arrives."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING

import click
import uvicorn

from vllm_image_mcp.openai_api.routes import add_openai_routes
from vllm_image_mcp.preloading import modules_needed
from vllm_image_mcp.server_key import server_key
from vllm_image_mcp.shutdown import DRAIN_SECONDS
from vllm_image_mcp.state import State
from vllm_image_mcp.telemetry.metrics import Metrics
from vllm_image_mcp.transport.http import MCP_PATH, Binding, Shared, UnsafeBinding, http_app, mcp_app
from vllm_image_mcp.transport.image_links import ImageLinks
from vllm_image_mcp.transport.user_apps import UserApps
from vllm_image_mcp.user_states import UserStates
from vllm_image_mcp.users.user import Users
from vllm_image_mcp.users.user_file import read_users

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import MCPServer
    from starlette.applications import Starlette

    from vllm_image_mcp.settings import Settings
    from vllm_image_mcp.users.user import User


def serve_http(settings: Settings, build: Callable[[State], MCPServer[State]]) -> None:
    """Serve MCP over Streamable HTTP until a signal arrives; images in progress then have ten seconds.

    Args:
        settings: The settings of the server.
        build: Builds the server of a user's state.

    Raises:
        click.UsageError: The address would be open to others without protection, or the file of the users
            cannot be used.
    """
    users = users_of(settings)
    try:
        binding = Binding(
            host=settings.host,
            port=settings.port,
            allowed_hosts=settings.allowed_host or (),
            needs_token=users.need_token,
        )
    except UnsafeBinding as error:
        raise click.UsageError(f"{error}.") from error
    for module in modules_needed(demo=settings.demo):
        importlib.import_module(module)
    metrics = Metrics()
    key = server_key(State(settings).folder.path)
    states = UserStates(settings, users, metrics, key)
    links = ImageLinks(key.derive("links"), states.folders, settings.public_url)

    def app_of(user: User) -> Starlette:
        server = build(states.of(user))
        add_openai_routes(server, states.of(user), link=partial(links.link, user.name))
        return mcp_app(server, binding)

    file = settings.users_file
    app = http_app(
        UserApps(users, states, app_of, read=file and partial(read_users, file)),
        binding,
        Shared(users=users, metrics=metrics, links=links),
        before_end=partial(states.drain, DRAIN_SECONDS),
        after_end=states.aclose,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",  # httptools keeps spaces after a header's value, which HTTP says to ignore
        timeout_graceful_shutdown=1,
    )
    listener = config.bind_socket()
    listener.listen(config.backlog)  # from now on, clients can connect
    host, port = listener.getsockname()[:2]
    at = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"Serving MCP at http://{at}:{port}{MCP_PATH}. Press Ctrl-C to stop.\n")
    uvicorn.Server(config).run(sockets=[listener])


def users_of(settings: Settings) -> Users:
    """Return the users that the settings name: those of the file, or the only one.

    Raises:
        click.UsageError: The file cannot be used, or there is a single token as well.
    """
    if settings.users_file is None:
        return Users.only(settings.bearer_token)
    if settings.bearer_token is not None:
        raise click.UsageError("--users-file gives each user a token; omit --token and --token-file.")
    try:
        return read_users(settings.users_file)
    except ValueError as error:
        raise click.UsageError(f"--users-file: {error}.") from error
