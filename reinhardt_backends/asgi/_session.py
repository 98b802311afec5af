"""``SessionMiddleware``: sessions of a ``SessionStore`` for an application.

A session is loaded when a request brings its id, and stored when the response begins, since only then a cookie can go
with it. In between, other requests of the same client may store changes of their own. The store refuses to overwrite
those; the session is then loaded again, and this request's changes are applied to what is there now.

What was rotated or revoked meanwhile cannot be loaded by the old id, and must not be: the changes of a request that
began before a login do not get into the session that the login made, and those from before a logout do not bring it
back. They are dropped. A login is different, since it does not rest on the old id: if two run at once, each client gets
a session that is logged in, whichever response comes last.

The cookie is set when an id is new, and never again: a late response to an early request cannot replace a new id by an
old one. For the same reason a request with an id that was rotated a moment ago neither sets nor deletes the cookie; an
id whose session has ended is deleted from the browser.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, get_args

import anyio

from .._errors import BackendError, DeserializationError, SerializationError, SessionConflictError
from .._session._backoff import backoff_seconds
from .._session._session import Session
from .._session._store import SessionStore
from .._throttle._throttle import UNAVAILABLE
from .._types import MISSING, TTL, check_ttl
from .._values._codec import decode, encode
from .._values._readers import type_name
from ._cookies import Cookie, SameSite
from ._messages import RESPONSES, App, Field, Message, Receive, Scope, Send, has_field, serves, with_fields
from ._turns import Turns
from ._web_session import WebSession

SessionErrorPolicy: TypeAlias = Literal["raise", "anonymous"]

_LONGEST: Final = 400 * 86_400
"""Seconds for which browsers keep a cookie at most."""


class SessionMiddleware:
    """Gives an application ``scope["session"]``, a ``WebSession``, and keeps it in a store.

    Only an id that the store has issued is ever used; any other cookie, of any length and content, is no session.
    Requests of a client that run at the same time do not undo each other: each writes the keys that it has changed, and
    for the same key the last one counts. A request that was under way while another one rotated or cleared the session
    loses its changes; one that arrives with the id from before has a session that is not ``available``. Nothing is
    stored for a visitor whose session stays empty.

    An application may also assign to ``scope["session"]``. A mapping replaces the data of the session; an empty one,
    ``None`` or Litestar's ``Empty`` clears the session, and so does deleting the entry.

    A response that depends on the session says ``Vary: Cookie``, and one that sets the cookie ``Cache-Control:
    no-store`` unless the application says otherwise. A websocket reads the session, and may change it until it is
    accepted.

    Args:
        app: The application.
        store: The store. Its data must be a JSON object that may be empty: ``dict[str, Any]``, or a model whose fields
            all have defaults, of which the application sees the fields as plain JSON data.
        cookie: The name of the cookie. With the prefix ``__Host-``, other hosts of the domain cannot set it.
        path: For which paths it is sent.
        domain: For which domain it is sent; ``None`` for the very host, without those below it.
        secure: Whether it is sent over https only. Turn it off for plain http in development.
        same_site: Whether it is sent with requests that come from other sites: with ``"lax"`` when a link is followed,
            with ``"strict"`` never, with ``"none"`` always.
        partitioned: Whether a page that is embedded in other sites has one cookie for each of those.
        max_age: Seconds for which browsers keep it, at most the ``absolute_ttl`` of the store; ``None`` for as long as
            the browser runs.
        on_error: What happens while the store is away, or refuses to serve, when a session is loaded: ``"raise"`` its
            error, or ``"anonymous"``: serve the request with an empty session that is not ``available``. Errors while a
            change is stored are raised in any case.

    Raises:
        TypeError, ValueError: An argument is not what it must be.
    """

    __module__ = "reinhardt_backends.asgi"  # where users import it from

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
        partitioned: bool = False,
        max_age: TTL | None = _LONGEST,
        on_error: SessionErrorPolicy = "raise",
    ) -> None:
        if not isinstance(store, SessionStore):
            raise TypeError(f"SessionMiddleware takes a SessionStore, not {type(store).__name__}")
        _check_data_type(store._type)
        if on_error not in get_args(SessionErrorPolicy):
            raise ValueError(f"on_error must be 'raise' or 'anonymous', not {on_error!r}")
        self.app = app
        self._store: SessionStore[Any] = store
        self._on_error = on_error
        self._turns = Turns()
        self._cookie = Cookie(
            cookie,
            path=path,
            domain=domain,
            secure=secure,
            same_site=same_site,
            partitioned=partitioned,
            max_age=_age(max_age, store),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if not serves(scope):
            await self.app(scope, receive, send)
            return
        session = await self._open(scope)
        assigned: Any = session

        async def store_first(message: Message) -> None:
            nonlocal assigned
            if not session._sealed:
                assigned = scope.get("session")
                if message["type"] in RESPONSES:
                    message = await self._finish(session, assigned, message)
                elif message["type"] == "websocket.close":
                    session._sealed = True
            await send(message)

        # Not a copy of the scope: what is outside, such as an error handler, sees the session, too.
        scope["session"] = session
        await self.app(scope, receive, store_first)
        last = scope.get("session")
        if session._sealed and last is not assigned and not isinstance(last, WebSession):
            raise RuntimeError('scope["session"] was assigned after the response had begun, and is not stored')

    async def _open(self, scope: Scope) -> WebSession:
        tickets = self._cookie.tickets(scope)
        refusal: BackendError | None = None
        try:
            for ticket in tickets:
                if (session := await self._store._load(ticket)) is not None:
                    return WebSession(session)
            for ticket in tickets:
                if await self._store._was_rotated(ticket):
                    refusal = SessionConflictError("the client gave up this session id after it sent the request")
        except UNAVAILABLE as error:
            if self._on_error == "raise":
                raise
            self._store._note_anonymous(error)
            refusal = error
        return WebSession(refusal=refusal, stale=bool(tickets) and refusal is None)

    async def _finish(self, session: WebSession, assigned: Any, message: Message) -> Message:
        try:
            if assigned is not session:
                _take_over(session, assigned)
        finally:
            # Sealed in any case: if it cannot be stored, the application may still respond with an error.
            session._sealed = True
        issued = await self._save(session)
        more: list[Field] = []
        if session._accessed and message["type"] != "websocket.accept":
            more.append((b"vary", b"Cookie"))
        if issued is not None or session._cleared or session._stale:
            field = self._cookie.deleting() if issued is None else self._cookie.setting(issued.id)
            more.append((b"set-cookie", field))
            if not has_field(message, b"cache-control"):
                more.append((b"cache-control", b"no-store"))
        return with_fields(message, more) if more else message

    async def _save(self, session: WebSession) -> Session[Any] | None:
        """Store what a request has changed, and return the session if it has an id that its client does not know."""
        changes, loaded = session._changes(), session._loaded
        if session._cleared and loaded is not None:
            await self._store._log_out(loaded)
            loaded = None
        if loaded is not None:
            return await self._merge(session, loaded, changes) if changes or session._rotated else None
        if changes or session._user is not None:
            return await self._store.create(changes, session._user, ttl=session._ttl)
        return None

    async def _merge(self, session: WebSession, loaded: Session[Any], changes: dict[str, Any]) -> Session[Any] | None:
        failures = 0
        async with contextlib.AsyncExitStack() as turn:
            while True:
                loaded.data = _merged(loaded._stored["data"], changes)
                if session._user_given:
                    loaded.user = session._user
                try:
                    if session._rotated:
                        return await self._store.rotate(loaded, ttl=session._ttl)
                    await self._store.save(loaded)
                    return None
                except SessionConflictError as conflict:
                    ended = conflict.ended
                if ended:
                    again = None
                else:
                    if failures == 0:
                        await turn.enter_async_context(self._turns.take(loaded.handle))
                    else:
                        # Another process was faster.
                        await anyio.sleep(backoff_seconds(failures))
                    failures += 1
                    again = await self._store._load(loaded._ticket)
                if again is None:
                    return await self._create_for_login(session, {} if ended else loaded._stored["data"], changes)
                loaded = again

    async def _create_for_login(
        self, session: WebSession, data: dict[str, Any], changes: dict[str, Any]
    ) -> Session[Any] | None:
        """Create a session for a login whose session has ended or has been given another id meanwhile."""
        if not session._user_given:
            return None
        return await self._store.create(_merged(data, changes), session._user, ttl=session._ttl)


def _take_over(session: WebSession, assigned: Any) -> None:
    """Apply what an application has assigned to ``scope["session"]``."""
    if isinstance(assigned, WebSession):
        # That of another SessionMiddleware, further inside.
        return
    is_empty = isinstance(assigned, Mapping) and not assigned
    if assigned is None or is_empty or _is_litestar_empty(assigned):
        session.clear()
    else:
        session._assign(assigned)


def _is_litestar_empty(value: Any) -> bool:
    return isinstance(value, Enum) and value.name == "EMPTY"


def _merged(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**data, **changes}.items() if value is not MISSING}


def _check_data_type(type: Any) -> None:
    """Check that the data of a store can be empty, as that of a new session is, and is a JSON object.

    Raises:
        TypeError: It cannot.
    """
    fits = False
    with contextlib.suppress(DeserializationError, SerializationError):
        fits = isinstance(decode(encode(decode(b"{}", type))), dict)
    if not fits:
        raise TypeError(
            "SessionMiddleware needs a store whose data is a JSON object that may be empty, such as dict[str, Any] "
            f"or a model whose fields all have defaults; this store's is {type_name(type)}"
        )


def _age(max_age: TTL | None, store: SessionStore[Any]) -> float | None:
    """Return for how many seconds browsers keep the cookie: no longer than they may, or than a session can last."""
    if check_ttl(max_age) is None:
        return None
    longest = [check_ttl(ttl) for ttl in (max_age, store._absolute_ttl, _LONGEST)]
    return min(milliseconds for milliseconds in longest if milliseconds is not None) / 1000
