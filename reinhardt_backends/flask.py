"""Flask: sessions that are kept in a backend. The cache for Flask-Caching is in ``flask_caching``.

Example::

    app.session_interface = BackendSessionInterface(SyncSessionStore(backend, dict[str, Any], ttl=3600))

The cookie holds an id and nothing else. Flask's settings (``SESSION_COOKIE_NAME`` and so on) say how it is set; what
``SessionStore`` says about ids, logins and ends of sessions holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask.sessions import SessionInterface, SessionMixin

from . import Session, SessionConflictError, SyncSessionStore, decode, encode

if TYPE_CHECKING:
    from flask import Flask, Request, Response

__all__ = ["BackendSession", "BackendSessionInterface"]

_ATTEMPTS: Final = 10
_KEEP: Final[Any] = object()


class BackendSession(dict[str, Any], SessionMixin):
    """The session of a request, ``flask.session``: a dict of plain JSON data. Changes in place are found, too."""

    def __init__(self, loaded: Session[dict[str, Any]] | None = None, *, stale: bool = False) -> None:
        """Take what was loaded.

        Args:
            loaded: The session; ``None`` for a visitor without one.
            stale: Whether the client sent an id of a session that has ended.
        """
        data = {} if loaded is None else loaded.data
        super().__init__(data)
        self.loaded = loaded
        self.new: bool = loaded is None
        self.modified: bool = False
        self.rotated: bool = False
        self.cleared: bool = False
        self.stale = stale
        self._before: dict[str, Any] = decode(encode(data))
        self._user = None if loaded is None else loaded.user

    @property
    def user(self) -> str | None:
        """The user of the session; ``None`` for a visitor. ``rotate`` changes it."""
        return self._user

    def clear(self) -> None:
        """End the session, as on logout. What is stored in it afterwards begins a new one."""
        super().clear()
        self.cleared, self._user = True, None

    def rotate(self, *, user: str | None = _KEEP) -> None:
        """Give the session a new id when the response is made. Call it on login, and whenever it gains rights.

        Args:
            user: The user of the session from now on; ``None`` for a visitor. Left out, the user stays.
        """
        self.rotated = True
        if user is not _KEEP:
            self._user = user

    def is_changed(self) -> bool:
        """Return whether there is anything to store. Values that were changed in place count."""
        return self.modified or self.rotated or self.keys() != self._before.keys() or bool(self._assigned())

    def merge(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Return what is stored, with the changes of this request."""
        kept = {name: value for name, value in stored.items() if name in self or name not in self._before}
        return {**kept, **self._assigned()}

    def _assigned(self) -> dict[str, Any]:
        """Return the values that are new or changed, as JSON: there ``1``, ``1.0`` and ``True`` differ."""
        before = self._before
        return {
            name: value for name, value in self.items() if name not in before or encode(value) != encode(before[name])
        }


class BackendSessionInterface(SessionInterface):
    """Keeps Flask's sessions in a ``SyncSessionStore``.

    Requests of a client that run at the same time do not undo each other: each writes the keys that it has changed. A
    request that was under way while another one ended the session or gave it a new id loses its changes.
    """

    def __init__(self, store: SyncSessionStore[dict[str, Any]]) -> None:
        """Take a store whose data is ``dict[str, Any]``."""
        self._store = store

    def open_session(self, app: Flask, request: Request) -> BackendSession:
        """Load the session of a request. What the store has not issued is no session."""
        # No variable has the id, since a traceback may show variables.
        name = self.get_cookie_name(app)
        if name not in request.cookies:
            return BackendSession()
        loaded = self._store.load(request.cookies[name])
        return BackendSession(loaded, stale=loaded is None and not self._store.was_rotated(request.cookies[name]))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Store the changes of a request, and set or delete the cookie."""
        if not isinstance(session, BackendSession):
            raise TypeError(f"BackendSessionInterface stores a BackendSession, not {type(session).__name__}")
        response.vary.add("Cookie")
        known = session.loaded
        ends = not session and session.user is None
        if known is not None and (ends or session.cleared):
            self._store.revoke(known)
        if ends:
            if known is not None or session.stale:
                self._delete_cookie(app, response)
            return
        is_new = known is None or session.cleared
        saved = self._save(session) if is_new or session.is_changed() else known
        if saved is not None and (is_new or session.rotated or self.should_set_cookie(app, session)):
            self._set_cookie(app, session, response, saved)

    def _save(self, session: BackendSession) -> Session[dict[str, Any]] | None:
        loaded = session.loaded
        if loaded is None or session.cleared:
            return self._store.create(dict(session), session.user)
        for _ in range(_ATTEMPTS):
            loaded.data, loaded.user = session.merge(loaded.data), session.user
            try:
                if session.rotated:
                    return self._store.rotate(loaded)
                self._store.save(loaded)
                return loaded
            except SessionConflictError as error:
                again = None if error.ended else self._store.load(loaded.id)
            if again is None:
                return None
            loaded = again
        raise SessionConflictError("the session was changed elsewhere, again and again")

    def _cookie(self, app: Flask) -> dict[str, Any]:
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "samesite": self.get_cookie_samesite(app),
            "httponly": self.get_cookie_httponly(app),
            "partitioned": self.get_cookie_partitioned(app),
        }

    def _set_cookie(self, app: Flask, session: BackendSession, response: Response, saved: Session[Any]) -> None:
        expires = self.get_expiration_time(app, session)
        response.set_cookie(self.get_cookie_name(app), saved.id, expires=expires, **self._cookie(app))
        response.headers.setdefault("Cache-Control", "no-store")

    def _delete_cookie(self, app: Flask, response: Response) -> None:
        response.delete_cookie(self.get_cookie_name(app), **self._cookie(app))
