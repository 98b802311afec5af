"""A session as a program sees it, and its id.

A session id is 48 random bytes as text. The first 16 bytes identify the session as long as it lives; their hash is the
*handle*, under which the store keeps the session. The other 32 bytes (256 bits) make the id a secret and change with
every ``rotate``. The store keeps only a hash of the whole id, the *proof*. This is the split-token pattern (selector
and verifier): reading the store does not let anyone use a session or compute its id, a lookup leaks nothing through its
timing, and the proof is compared in constant time. The bits are random, so a fast hash is enough.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Generic, Protocol, TypeVar

Data = TypeVar("Data")
"""The type of the data of a session."""

_SELECTOR: Final = 16
_SECRET: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9_-]{64}")


class Ticket:
    """A session id with its handle and proof. Its repr shows none of them, so no traceback shows an id."""

    __slots__ = ("handle", "id", "proof")

    def __init__(self, raw: bytes) -> None:
        self.id: str = _text(raw)
        self.handle: str = _text(sha256(raw[:_SELECTOR]).digest())
        self.proof: str = _text(sha256(raw).digest())

    @classmethod
    def new(cls) -> Ticket:
        """Return the ticket of a new session."""
        return cls(secrets.token_bytes(_SELECTOR + _SECRET))

    @classmethod
    def read(cls, id: str) -> Ticket | None:
        """Return the ticket of an id that a client sent; ``None`` if no store can have issued it."""
        if not isinstance(id, str):
            name = type(id).__name__
            # Tracebacks may show the variables of this frame.
            del id
            raise TypeError(f"a session id must be a str, not {name}")
        return cls(base64.urlsafe_b64decode(id)) if _ID.fullmatch(id) else None

    def proves(self, record: dict[str, Any]) -> bool:
        """Whether a record belongs to the session of this id, and the id has not been rotated since."""
        return hmac.compare_digest(self.proof, record["proof"])

    def rotated(self) -> Ticket:
        """Return a ticket of the same session with a new secret."""
        return Ticket(base64.urlsafe_b64decode(self.id)[:_SELECTOR] + secrets.token_bytes(_SECRET))


class SessionLike(Protocol):
    """A session of a user: a ``Session``, or the ``WebSession`` of a request."""

    @property
    def handle(self) -> str | None:
        """The name of the session; ``None`` if it is not stored yet."""
        ...

    @property
    def user(self) -> str | None:
        """The user of the session; ``None`` for a visitor."""
        ...


class Session(Generic[Data]):
    """A session as it was loaded or created. Change ``data`` and ``user``, then ``save`` it.

    Attributes:
        data: The data, of the type of the store.
        user: The user of the session; ``None`` for a visitor.
    """

    __slots__ = ("__weakref__", "_stored", "_ticket", "data", "user")

    def __init__(self, ticket: Ticket, stored: dict[str, Any], data: Data) -> None:
        self._ticket = ticket
        self._stored = stored
        self.data: Data = data
        self.user: str | None = stored["user"]

    @property
    def id(self) -> str:
        """The secret that the client keeps, 64 characters of ``A-Z a-z 0-9 _ -``. ``rotate`` changes it."""
        return self._ticket.id

    @property
    def handle(self) -> str:
        """A name of the session that is no secret and never changes, for logs and for ``revoke_handle``."""
        return self._ticket.handle

    @property
    def ttl(self) -> float:
        """Seconds without a ``load`` or ``save`` after which this session ends."""
        return float(self._stored["ttl"] / 1000)

    @property
    def created(self) -> datetime:
        """When the session began, in UTC, on the clock of the machine that created it."""
        return created_at(self._stored)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle}>"


@dataclass(frozen=True, slots=True)
class SessionInfo(Generic[Data]):
    """What ``sessions_of`` returns for each session. It has no id, since the store does not know it.

    Attributes:
        handle: A name of the session that is no secret and never changes.
        user: The user of the session.
        data: A copy of its data.
        created: When the session began, in UTC, on the clock of the machine that created it.
        last_seen: When the session was last loaded or saved, in UTC, on the clock of this machine; ``None`` if the
            backend does not provide ``ttl``.
    """

    handle: str
    user: str
    data: Data = field(repr=False)
    created: datetime
    last_seen: datetime | None


def created_at(record: dict[str, Any]) -> datetime:
    """Return when the session of a record began."""
    return datetime.fromtimestamp(record["created"], UTC)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
