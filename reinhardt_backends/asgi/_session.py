"""``SessionMiddleware``: sessions of a ``SessionStore`` for an application.

A session is loaded when a request brings its id, and stored when the response begins, since only then a cookie can go
with it. In between, other requests of the same client may store changes of their own. The store refuses to overwrite
those; then the session is loaded again, and this request's changes are made to what is there now.

What was rotated or revoked meanwhile cannot be loaded by the old id, and must not be: the changes of a request that had
begun before a login do not get into the session that the login made, and those before a logout do not bring it back.
They are dropped. A login is different, since it does not rest on the old id: if two run at once, each client gets a
session that is logged in, whichever response comes last.

The cookie is set when an id is new, and never again: a late response to an early request cannot put an old id in the
place of a new one. It is the store that ends a session; the age of the cookie only says how long a browser keeps it.
"""

from __future__ import annotations

from typing import Any, Final

from .._errors import SessionConflictError
from .._session._session import Session
from .._session._store import SessionStore
from .._types import MISSING, TTL, check_ttl
from ._cookies import Cookie, SameSite
from ._messages import RESPONSES, App, Field, Message, Receive, Scope, Send, has_field, serves, with_fields
from ._web_session import WebSession

_LONGEST: Final = 400 * 86_400
"""Seconds for which browsers keep a cookie at most."""


class SessionMiddleware:
    """Gives an application ``scope["session"]``, a ``WebSession``, and keeps it in a store.

    Only an id that the store has issued is ever used; any other cookie, however long or odd, is no session. Requests
    of a client that run at the same time do not undo each other: each writes the keys that it has changed, and only of
    the same key the last one counts. A request that was under way while another one rotated or cleared the session
    loses its changes. Nothing is stored for a visitor whose session stays empty.

    A response that depends on the session says ``Vary: Cookie``, and one that sets the cookie ``Cache-Control:
    no-store`` unless the application says otherwise. A websocket reads the session, and may change it until it is
    accepted. Errors of the store are raised.

    Args:
        app: The application.
        store: The store. Its data must be a JSON object: ``dict[str, Any]``, or a model, of which the application sees
            the fields as plain JSON data.
        cookie: The name of the cookie. With the prefix ``__Host-``, other hosts of the domain cannot set it.
        path: For which paths it is sent.
        domain: For which domain it is sent; ``None`` for the very host, without those below it.
        secure: Whether it is sent over https only. Turn it off for plain http in development.
        same_site: Whether it is sent with requests that come from other sites: with ``"lax"`` when a link is followed,
            with ``"strict"`` never, with ``"none"`` always.
        max_age: Seconds for which browsers keep it, at most the ``absolute_ttl`` of the store; ``None`` for as long as
            the browser runs.

    Raises:
        TypeError, ValueError: An argument is not what it must be.
    """

    def __init__(
        self,
        app: App,
        store: SessionStore[Any],
        *,
        cookie: str = "session",
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        same_site: SameSite = "lax",
        max_age: TTL | None = _LONGEST,
    ) -> None:
        if not isinstance(store, SessionStore):
            raise TypeError(f"SessionMiddleware takes a SessionStore, not {type(store).__name__}")
        self.app = app
        self._store: SessionStore[Any] = store
        self._cookie = Cookie(
            cookie, path=path, domain=domain, secure=secure, same_site=same_site, max_age=_age(max_age, store)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if not serves(scope):
            await self.app(scope, receive, send)
            return
        session = WebSession(await self._load(scope))

        async def store_first(message: Message) -> None:
            if not session._sealed:
                if message["type"] in RESPONSES:
                    message = await self._finish(session, message)
                elif message["type"] == "websocket.close":
                    session._sealed = True
            await send(message)

        await self.app({**scope, "session": session}, receive, store_first)

    async def _load(self, scope: Scope) -> Session[Any] | None:
        for value in self._cookie.read(scope):
            session = await self._store.load(value)
            if session is not None:
                if not isinstance(session._stored["data"], dict):
                    raise TypeError("SessionMiddleware needs a store whose data is a JSON object")
                return session
        return None

    async def _finish(self, session: WebSession, message: Message) -> Message:
        # Sealed in any case: if it cannot be stored, the application may still respond with an error.
        session._sealed = True
        issued = await self._save(session)
        more: list[Field] = []
        if session._accessed and message["type"] != "websocket.accept":
            more.append((b"vary", b"Cookie"))
        if issued is not None:
            more.append((b"set-cookie", self._cookie.setting(issued) if issued else self._cookie.deleting()))
            if not has_field(message, b"cache-control"):
                more.append((b"cache-control", b"no-store"))
        return with_fields(message, more) if more else message

    async def _save(self, session: WebSession) -> str | None:
        """Store what a request has changed.

        Returns:
            A new id for the client; an empty one if it shall have none; ``None`` if its id stays as it is.
        """
        changes, loaded = session._changes(), session._loaded
        if session._cleared and loaded is not None:
            await self._store.revoke(loaded)
            loaded = None
        if loaded is not None:
            return await self._merge(session, loaded, changes) if changes or session._rotated else None
        if changes or session._user is not None:
            return (await self._store.create(changes, session._user)).id
        return "" if session._cleared else None

    async def _merge(self, session: WebSession, loaded: Session[Any], changes: dict[str, Any]) -> str | None:
        while True:
            loaded.data = merged = _merged(loaded._stored["data"], changes)
            if session._user_given:
                loaded.user = session._user
            try:
                if session._rotated:
                    return (await self._store.rotate(loaded)).id
                await self._store.save(loaded)
                return None
            except SessionConflictError as conflict:
                ended = conflict.ended
            again = None if ended else await self._store.load(loaded.id)
            if again is not None:
                loaded = again
            elif session._user_given:
                return (await self._store.create(_merged({}, changes) if ended else merged, session._user)).id
            else:
                return None


def _merged(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**data, **changes}.items() if value is not MISSING}


def _age(max_age: TTL | None, store: SessionStore[Any]) -> float | None:
    """Return for how many seconds browsers keep the cookie: no longer than they may, or than a session can last."""
    if check_ttl(max_age) is None:
        return None
    longest = [check_ttl(ttl) for ttl in (max_age, store._absolute_ttl, _LONGEST)]
    return min(milliseconds for milliseconds in longest if milliseconds is not None) / 1000
