"""A session, as a program sees it, and its id.

A session id is 48 random bytes as text. The first 16 name the session as long as it lives; hashed, they are its
*handle*, under which the store keeps it. The other 32, 256 bits, make the id a secret, and change with every
``rotate``; of them the store has only the hash of the whole id, the *proof*. This is the split-token pattern (selector
and verifier): who reads the store can neither use a session nor compute its id, looking a session up leaks nothing by
its timing, and the proof is compared in constant time. The bits are random, so a fast hash does.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

Data = TypeVar("Data")
"""What the data of a session is."""

_NAMING: Final = 16
_SECRET: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9_-]{64}")


class Ticket:
    """An id with what the store knows of it. Its repr, and so every traceback that shows variables, is silent."""

    __slots__ = ("handle", "id", "proof")

    def __init__(self, raw: bytes) -> None:
        self.id: str = _text(raw)
        self.handle: str = _text(sha256(raw[:_NAMING]).digest())
        self.proof: str = _text(sha256(raw).digest())

    @classmethod
    def new(cls) -> Ticket:
        return cls(secrets.token_bytes(_NAMING + _SECRET))

    @classmethod
    def read(cls, id: str) -> Ticket | None:
        """Return the ticket of an id that a client sent; ``None`` if no store can have issued it."""
        if not isinstance(id, str):
            raise TypeError(f"a session id must be a str, not {type(id).__name__}")
        return cls(base64.urlsafe_b64decode(id)) if _ID.fullmatch(id) else None

    def proves(self, record: dict[str, Any]) -> bool:
        """Whether a record is of the session that the id is of, and has not been given another id since."""
        return hmac.compare_digest(self.proof, record["proof"])

    def rotated(self) -> Ticket:
        """Return a ticket of the same session with another secret."""
        return Ticket(base64.urlsafe_b64decode(self.id)[:_NAMING] + secrets.token_bytes(_SECRET))


class Session(Generic[Data]):
    """A session as it was loaded or created. Change ``data`` and ``user``, then ``save`` it.

    Attributes:
        data: The data, of the type of the store.
        user: Whose session it is; ``None`` for a visitor.
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
        """A name of the session that is no secret and never changes, for logs and for ``revoke``."""
        return self._ticket.handle

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle}>"


@dataclass(frozen=True, slots=True)
class SessionInfo(Generic[Data]):
    """What ``sessions_of`` tells of a session. The store does not know its id.

    Attributes:
        handle: A name of the session that is no secret and never changes.
        user: Whose session it is.
        data: A copy of its data.
    """

    handle: str
    user: str
    data: Data = field(repr=False)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
