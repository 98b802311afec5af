"""``WebSession``: a session as an application sees it while it serves a request.

It is a mapping and keeps two states apart: what the store had when the request began, and what the application made of
it. The difference is this request's change, key by key, values that were changed in place included. It is found by
comparing when the response begins, so nothing has to be marked as modified. Only the change is written, over whatever
other requests have stored meanwhile.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

from .._errors import BackendError
from .._session._session import Session
from .._types import MISSING, TTL, check_key, check_ttl
from .._values._codec import decode, encode

_KEEP: Final[Any] = MISSING


class WebSession(MutableMapping[str, Any]):
    """The session of a request, ``scope["session"]``: a mapping of names to plain JSON data.

    A visitor without a session has an empty one; it is stored once there is something in it, or a user. Change it
    before the response begins. The changes are stored then, and not at all if the application fails before.

    Changing anything later raises ``RuntimeError``, since no cookie could be sent any more.

    A session that is not ``available`` is empty, and every change raises the reason as an error.
    """

    __module__ = "reinhardt_backends.asgi"  # where users import it from

    def __init__(
        self, loaded: Session[Any] | None = None, *, refusal: BackendError | None = None, stale: bool = False
    ) -> None:
        self._loaded = loaded
        self._refusal = refusal
        self._stale = stale
        """Whether the client sent an id of a session that has ended."""
        self._user = None if loaded is None else loaded.user
        self._before: dict[str, Any] = {} if loaded is None else loaded._stored["data"]
        self._now: dict[str, Any] | None = None
        self._ttl: TTL | None = None
        self._accessed = False
        self._cleared = False
        self._rotated = False
        self._user_given = False
        self._sealed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>" if self._loaded is None else f"<{type(self).__name__} {self._loaded.handle}>"

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __setitem__(self, name: str, value: Any) -> None:
        self._check_writable()
        self._data[check_key(name)] = value

    def __delitem__(self, name: str) -> None:
        self._check_writable()
        del self._data[name]

    @property
    def available(self) -> bool:
        """Whether the session can be used.

        If not, it is empty and every change raises an error: the store is away and the middleware serves visitors
        anonymously meanwhile, or since it sent this request the client has been given a new id, or logged out.
        """
        return self._refusal is None

    @property
    def user(self) -> str | None:
        """The user of the session; ``None`` for a visitor. ``rotate`` changes it."""
        self._accessed = True
        return self._user

    @property
    def handle(self) -> str | None:
        """A name of the session that is no secret and never changes; ``None`` if it is not stored yet."""
        self._accessed = True
        return None if self._loaded is None or self._cleared else self._loaded.handle

    def rotate(self, *, user: str | None = _KEEP, ttl: TTL | None = None) -> None:
        """Give the session a new id when the response begins; the old id ends then.

        Call it on login, and whenever else the session gains rights, so that an id that was known before does not gain
        them. The data stays; call ``clear`` first to begin with none.

        Args:
            user: The user of the session from now on; ``None`` for a visitor. Left out, the user stays.
            ttl: Seconds without a request after which the session ends from now on, as for "remember me". Left out,
                its ttl stays; that of a new session is the ttl of the store.

        Raises:
            TypeError, ValueError: An argument is not what it must be.
            RuntimeError: The response has begun.
            BackendError: The session is not available.
        """
        self._check_writable()
        check_ttl(ttl)
        if user is not _KEEP:
            if user is not None:
                check_key(user)
            self._user, self._user_given = user, True
        self._rotated, self._ttl = True, ttl

    def clear(self) -> None:
        """End the session: call it on logout. It is revoked, and its cookie deleted, when the response begins.

        What is set afterwards belongs to a new session. (To delete every key only empties a session.)
        """
        self._check_writable()
        self._accessed = self._cleared = True
        self._now = {}
        self._user, self._rotated, self._user_given, self._ttl = None, False, False, None

    @property
    def _data(self) -> dict[str, Any]:
        self._accessed = True
        now = self._now
        if now is None:
            # A copy, so that what is changed in place shows.
            now = self._now = decode(encode(self._before), dict[str, Any])
        return now

    def _assign(self, value: Any) -> None:
        """Take over what the application put into ``scope["session"]`` in place of this object."""
        if not isinstance(value, Mapping):
            # A model: its JSON is what counts.
            value = decode(encode(value))
        if not isinstance(value, Mapping):
            raise TypeError('scope["session"] must be a mapping of names to plain JSON data')
        self._check_writable()
        self._accessed = True
        self._now = {check_key(name): part for name, part in value.items()}

    def _changes(self) -> dict[str, Any]:
        """Return what this request has changed: new values, and ``MISSING`` for what it has deleted."""
        if self._now is None:
            return {}
        before: dict[str, Any] = {} if self._cleared else self._before
        changed = {
            name: value
            for name, value in self._now.items()
            if name not in before or encode(value) != encode(before[name])
        }
        return changed | dict.fromkeys(before.keys() - self._now.keys(), MISSING)

    def _check_writable(self) -> None:
        if self._refusal is not None:
            raise copy.copy(self._refusal) from self._refusal
        if self._sealed:
            raise RuntimeError("the response has begun: the session cannot be changed any more")
