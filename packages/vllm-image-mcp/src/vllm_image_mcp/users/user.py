"""Define the users of a server, and find the one whose bearer token a request has."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import SecretStr
from vllm_image_core.batches.limits import NO_LIMITS, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may use the server, or a program of theirs.

    Attributes:
        name: The name of the user's folder; "" for the only user, who has the output folder itself.
        digest: The SHA-256 of the token; the token itself is not stored. None if no token is needed.
        limits: How much the user may use.
        share: The user's part of the servers' time against the others', if they all want some.
        reads_metrics: Whether the user may read `/metrics`, which describe everybody's work.
    """

    name: str = ""
    digest: bytes | None = field(default=None, repr=False)
    limits: Limits = NO_LIMITS
    share: float = 1.0
    reads_metrics: bool = True


class Users:
    """The users of a server, at least one.

    Args:
        users: The users, each with a name and a token of their own; or one user without a name.
    """

    def __init__(self, users: Iterable[User]) -> None:
        self._users = tuple(users)

    @classmethod
    def only(cls, token: SecretStr | None) -> "Users":
        """Return the only user of a server, with the token that is needed; None for none."""
        return cls([User(digest=None if token is None else digest_of(token.get_secret_value()))])

    def __iter__(self) -> Iterator[User]:
        return iter(self._users)

    def __len__(self) -> int:
        return len(self._users)

    def replace(self, users: "Users") -> None:
        """Replace the users; a token that none of the new ones has stops working."""
        self._users = tuple(users)

    @property
    def need_token(self) -> bool:
        """Whether every request needs a token."""
        return all(user.digest is not None for user in self._users)

    def authenticate(self, authorization: str) -> User | None:
        """Return the user whose token is in an Authorization header; None if it is nobody's.

        The token is compared with everybody's, each in constant time, so that the time of an answer says
        nothing about any of them.
        """
        scheme, _, token = authorization.partition(" ")
        given = digest_of(token.strip() if scheme.lower() == "bearer" else "")
        found: User | None = None
        for user in self._users:
            if user.digest is None or hmac.compare_digest(given, user.digest):
                found = user
        return found


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
