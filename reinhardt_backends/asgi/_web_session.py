"""``WebSession``: a session as an application sees it while it serves a request.

It is a mapping, and keeps two things apart: what the store had when the request began, and what the application makes
of it. What differs is this request's change, key by key, values that were changed in place included; it is found by
comparing when the response begins, so nothing has to be marked as modified. Only the change is written, over whatever
other requests have stored meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from .._session._session import Session
from .._types import MISSING, check_key
from .._values._codec import decode, encode

_KEEP: Final[Any] = MISSING


class WebSession(MutableMapping[str, Any]):
    """The session of a request, ``scope["session"]``: a mapping of names to plain JSON data.

    A visitor without a session has an empty one; it begins to be kept once there is something in it, or a user. Change
    it before the response begins. The changes are stored then, and not at all if the application fails before.

    Setting or deleting anything later raises ``RuntimeError``, since no cookie could be sent any more.
    """

    def __init__(self, loaded: Session[Any] | None = None) -> None:
        self._loaded = loaded
        self._user = None if loaded is None else loaded.user
        self._before: dict[str, Any] = {} if loaded is None else loaded._stored["data"]
        self._now: dict[str, Any] | None = None
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
        self._check_open()
        self._data[check_key(name)] = value

    def __delitem__(self, name: str) -> None:
        self._check_open()
        del self._data[name]

    @property
    def user(self) -> str | None:
        """Whose session it is; ``None`` for a visitor. ``rotate`` changes it."""
        self._accessed = True
        return self._user

    def rotate(self, *, user: str | None = _KEEP) -> None:
        """Give the session a new id when the response begins; the old one is dead from then on.

        Call it on login, and whenever else the session gains rights, so that nobody who knew the id before gains them.
        The data stays; call ``clear`` first to begin anew.

        Args:
            user: Whose session it is from now on; ``None`` for a visitor's. Left out, that stays as it is.
        """
        self._check_open()
        if user is not _KEEP:
            if user is not None:
                check_key(user)
            self._user, self._user_given = user, True
        self._rotated = True

    def clear(self) -> None:
        """End the session: call it on logout. It is revoked, and its cookie deleted, when the response begins.

        What is set afterwards belongs to a new session. (To delete every key only empties a session.)
        """
        self._check_open()
        self._accessed = self._cleared = True
        self._now = {}
        self._user, self._rotated, self._user_given = None, False, False

    @property
    def _data(self) -> dict[str, Any]:
        self._accessed = True
        now = self._now
        if now is None:
            # A copy, so that what is changed in place shows.
            now = self._now = decode(encode(self._before), dict[str, Any])
        return now

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

    def _check_open(self) -> None:
        if self._sealed:
            raise RuntimeError("the response has begun: a session can be changed no more")
