"""Notify hosts when the resources that they subscribed to change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
)
from mcp.types import (
    EmptyResult,
    NotificationParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

from vllm_image_mcp.resources.resources import LATEST

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp.server.session import ServerSession
    from mcp.server.subscriptions import ServerEvent
    from mcp.types import ServerCapabilities, SubscriptionsListenResult
    from vllm_image_core.batches.events import Event

    from vllm_image_mcp.state import State

_SAVED: Final = frozenset({"done", "reused"})


class Subscriptions:
    """The subscriptions of hosts, in both versions of the protocol.

    A notification says that a resource has changed, not how, so pending duplicates are merged.

    Attributes:
        bus: The bus on which hosts of 2026-07-28 listen for the changes that they asked for.
    """

    def __init__(self) -> None:
        self.bus: InMemorySubscriptionBus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self.bus)
        self._session: ServerSession | None = None
        self._subscribed: dict[str, ServerSession] = {}
        self._due: dict[ServerEvent, None] = {}
        self._notifying: asyncio.Task[None] | None = None

    def serve_on(self, server: Server[State]) -> None:
        """Handle subscription requests, and announce notifications for resources only."""
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)
        server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listening)
        server.add_notification_handler("notifications/initialized", NotificationParams, self._on_initialized)
        get_capabilities = server.get_capabilities

        def announce(*args: Any, **kwargs: Any) -> ServerCapabilities:  # noqa: ANN401 - passed on unchanged
            return _honest(get_capabilities(*args, **kwargs))

        server.get_capabilities = (
            announce  # the SDK derives all flags from one, regardless of what is notified
        )

    def notify(self, batch_id: str, event: Event) -> None:
        """Queue the notifications for a batch event; a saved image also changes the list of the latest."""
        self._due[ResourceUpdated(f"batch://{batch_id}")] = None
        if event.kind in _SAVED:
            self._due[ResourceUpdated(LATEST)] = None
            self._due[ResourcesListChanged()] = None
        if self._notifying is None or self._notifying.done():
            self._notifying = asyncio.create_task(self._notify())

    def close(self) -> None:
        """End the streams of all listeners."""
        self._listen.close()

    async def _notify(self) -> None:
        while self._due:
            event = next(iter(self._due))
            del self._due[event]
            await self.bus.publish(event)
            await self._notify_session(event)

    async def _notify_session(self, event: ServerEvent) -> None:
        """Notify a host of the older protocol, which has no streams to listen to."""
        match event:
            case ResourceUpdated(uri=uri) if uri in self._subscribed:
                await self._subscribed[uri].send_resource_updated(uri)
            case ResourcesListChanged() if self._session is not None:
                await self._session.send_resource_list_changed()
            case _:
                pass

    async def _subscribe(
        self, ctx: ServerRequestContext[State], params: SubscribeRequestParams
    ) -> EmptyResult:
        self._subscribed[str(params.uri)] = ctx.session
        return EmptyResult()

    async def _unsubscribe(
        self, _: ServerRequestContext[State], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        self._subscribed.pop(str(params.uri), None)
        return EmptyResult()

    async def _listening(
        self, ctx: ServerRequestContext[State], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Accept only what will be notified: tools and prompts never change."""
        asked = params.notifications.model_copy(
            update={"tools_list_changed": None, "prompts_list_changed": None}
        )
        return await self._listen(ctx, params.model_copy(update={"notifications": asked}))

    async def _on_initialized(self, ctx: ServerRequestContext[State], _: NotificationParams) -> None:
        self._session = ctx.session


def _honest(announced: ServerCapabilities) -> ServerCapabilities:
    changing = {"subscribe": True, "list_changed": True}
    return announced.model_copy(
        update={
            "tools": announced.tools and announced.tools.model_copy(update={"list_changed": False}),
            "prompts": announced.prompts and announced.prompts.model_copy(update={"list_changed": False}),
            "resources": announced.resources and announced.resources.model_copy(update=changing),
        }
    )
