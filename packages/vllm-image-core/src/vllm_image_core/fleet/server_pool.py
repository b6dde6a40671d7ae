"""Server pool: keep the servers of a fleet, and find those that can serve a call."""

import copy
import logging
from collections.abc import Callable, Sequence

from vllm_omni_client.errors import BadRequest, OmniError, ServerBusy, ServerUnreachable
from vllm_omni_client.models import ModelList

from vllm_image_core.errors import ImageError, InvalidRequest
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.fleet.server import FleetCall, Server, usual_seconds
from vllm_image_core.text import message_of

_logger = logging.getLogger(__name__)

Learned = Callable[[str], float | None]
"""Returns a server's seconds per unit of work as measured before, by its URL; None if never measured."""


ChooseModel = Callable[[ModelList], ModelList]
"""Puts the model to use first in a server's list; raises ModelChanged if it is not there."""


class ServerPool:
    """The servers of one fleet.

    `learned` returns the service rates measured before; `parallel` requests run at the same time on each
    server, None to find it out; `ceiling` is the maximum at once, None for none; `choose` puts the model to
    use first in a server's list. `wanted` is the model that was last asked for. Servers that cannot be used
    together are an `InvalidRequest`.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        learned: Learned | None = None,
        parallel: int | None = None,
        ceiling: int | None = None,
        choose: ChooseModel | None = None,
    ) -> None:
        if not backends:
            raise wrong_servers("A studio needs at least one server.", [])
        self.members: list[Server] = []
        self.parallel = parallel
        self.choose: ChooseModel = choose or _as_listed
        self.wanted: str | None = None
        self.models_known = False
        self._learned = learned
        self._ceiling = ceiling
        for backend in backends:
            self._admit(backend, alone=len(backends) == 1)

    @property
    def base_url(self) -> str:
        """Their base URLs without credentials, separated by commas."""
        return ", ".join(member.url for member in self.members)

    @property
    def alone(self) -> Server | None:
        """The only server; None if there are several."""
        return self.members[0] if len(self.members) == 1 else None

    @property
    def ceiling(self) -> int | None:
        """Maximum number of requests at once on each server; None for no maximum."""
        return self._ceiling

    @ceiling.setter
    def ceiling(self, ceiling: int | None) -> None:
        self._ceiling = ceiling
        for member in self.members:
            member.limit.ceiling = ceiling

    def admit(self, backend: Backend) -> Server:
        """Add a server; one that the pool already has is an `InvalidRequest`."""
        return self._admit(backend, alone=False)

    def _admit(self, backend: Backend, *, alone: bool) -> Server:
        if any(member.url == backend.base_url for member in self.members):
            raise wrong_servers(f"{backend.base_url} is given twice.", backend.base_url)
        member = Server(backend, parallel=self.parallel, ceiling=self._ceiling, alone=alone)
        self.members.append(member)
        return member

    def dismiss(self, url: str) -> Server:
        """Remove a server; one that the pool does not have, or its last one, is an `InvalidRequest`."""
        member = next((each for each in self.members if each.url == url), None)
        if member is None or len(self.members) == 1:
            what = "is not a server of this studio" if member is None else "is the last server"
            raise wrong_servers(f"{url} {what}.", url)
        self.members.remove(member)
        return member

    @property
    def usual(self) -> float:
        """Median seconds per unit of work over the servers where it is known."""
        return usual_seconds(self.members)

    def seconds_of(self, member: Server) -> float:
        """Return a server's seconds per unit of work; the usual ones if its own are not known yet."""
        return member.service_rate.seconds or self.usual

    def usable(self) -> list[Server]:
        """Return the servers that get requests; if their models differ, those with the first one's model."""
        inside = [member for member in self.members if member.is_in]
        model = next((member.model for member in self.members if member.model), None)
        return [member for member in inside if model is None or self.serves(member, model)] or inside

    def serves(self, member: Server, model: str | None) -> bool:
        """Return whether a server has this model; None stands for any."""
        return model is None or self.name_at(member, model) is not None

    def name_at(self, member: Server, model: str) -> str | None:
        """Return the name of a model on a server; None if it does not have that model."""
        if model in member.names:
            return member.model
        roots = (root for each in self.members if (root := each.names.get(model)) is not None)
        return member.name_of(model, roots)

    def can_serve(self, member: Server, call: FleetCall) -> bool:
        """Return whether a server may get this call."""
        return member.is_in and member not in call.avoided and self.serves(member, call.model)

    def may_serve(self, member: Server, call: FleetCall) -> bool:
        """Return whether a call may wait for a server, including one whose health is being checked."""
        return self.can_serve(member, call) or (
            member.circuit.in_doubt and member not in call.avoided and self.serves(member, call.model)
        )

    def load_service_rates(self) -> None:
        """Use the stored service rate for each server that has no measurement yet."""
        for member in self.members:
            if self._learned and member.service_rate.seconds is None:
                learned = self._learned(member.url)
                if learned is not None:
                    member.service_rate.expect(learned)

    def compare(self) -> None:
        """Warn if a server's model or version differs from the first one's."""
        known = [member for member in self.members if member.names]
        for member in known:
            note = "" if member is known[0] else self._difference(known[0], member)
            if note and note != member.note:
                _logger.warning("%s", note)
            member.note = note

    def unservable_error(self, call: FleetCall) -> OmniError | ImageError:
        """Return the error for a call that no server is left for, with what was tried for it."""
        error, last = self._unservable_error(call), call.error
        if isinstance(error, OmniError):
            call.budget.annotate(error, last.exchange if isinstance(last, OmniError) else None)
        return error

    def _unservable_error(self, call: FleetCall) -> OmniError | ImageError:
        serving = [member for member in self.members if self.serves(member, call.model)]
        if not serving and all(member.names for member in self.members):
            served = ", ".join(f"{member.url}: {member.model}" for member in self.members)
            return BadRequest(f"No server has the model {call.model}. They serve {served}.", status=400)
        left = [member for member in serving if member not in call.avoided]
        if not left and call.error is not None:
            return copy.copy(call.error)
        return self.outage(left or self.members)

    def outage(self, members: Sequence[Server]) -> OmniError | ImageError:
        """Return the error for a call that was not sent because no server is available."""
        errors = [(member.url, member.last_error) for member in members if member.last_error is not None]
        for _, error in reversed(errors):
            if isinstance(error, ServerUnreachable | ServerBusy):
                return copy.copy(error)
        why = "; ".join(f"{url}: {message_of(error)}" for url, error in errors) or self.base_url
        return ServerUnreachable(f"No server is available now. {why}")

    def _difference(self, first: Server, member: Server) -> str:
        if not self.serves(member, first.model):
            return (
                f"{member.url} serves {member.model} and {first.url} serves {first.model}; "
                "each request goes to the servers with its model."
            )
        if member.version != first.version:
            return (
                f"{member.url} has version {member.version or 'unknown'} and {first.url} has "
                f"{first.version or 'unknown'}: the same seed may give another image there."
            )
        return ""


def _as_listed(models: ModelList) -> ModelList:
    return models


def wrong_servers(message: str, value: object) -> InvalidRequest:
    """Return the error for servers that cannot be used together."""
    return InvalidRequest(
        message, parameter="server", value=value, allowed="one or more servers, each given once"
    )
