"""``RedisBackend``: verbs to commands, and nothing about sockets.

Every verb is one command or one script, so that it is one atomic step and one round trip. Which of them may be sent
again when a reply does not come is said here, verb by verb, by ``Kind``.

hiredis is imported when the first backend is made, and redis-py when something needs it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, cast

from .._backend import Backend, BackendStats, Deadline, StoreInfo, typed_as, url_text
from .._errors import BackendClosedError, CounterError, DeserializationError, ResponseError
from .._types import (
    TTL,
    KeepTTL,
    Secret,
    check_count,
    check_key,
    check_keys,
    check_mapping,
    check_new_ttl,
    check_prefix,
    check_some_ttl,
    check_ttl,
)
from .._values._codec import check_type, decode, encode
from .._values._json_text import decode_json, encode_json
from ._commands import ANSWER, COUNTER, EXISTING_COUNTER, NUMBER, RENEWED, TIME, VALUE, WORD, Kind, Reply, template
from ._scan import ScannedKeys
from ._scripts import (
    COMPARE_AND_DELETE,
    COMPARE_AND_SET,
    INCREMENT,
    INCREMENT_EXISTING,
    PERSIST,
    RENEW,
    RESTORE,
    script_of,
    template_of,
)

if TYPE_CHECKING:
    import ssl

    from pydantic import AnyUrl
    from redis.credentials import CredentialProvider

    from .._backend._atomic import KeyStep, Step
    from ._addresses import AddressMap
    from ._client import Client
    from ._cluster_options import ClusterOptions
    from ._options import Options

S = TypeVar("S")
Words = tuple[bytes | str | float, ...]

BATCH: Final = 1000
"""How many keys one command carries at most."""

_EXPIRING: Final = b"1"
"""Tells RENEW to leave a key alone that has no expiry."""

# For the frequent verbs: to find a member in its class takes six times as long.
_READ, _IDEMPOTENT, _ONCE = Kind.READ, Kind.IDEMPOTENT, Kind.ONCE

_GET: Final = template(b"GET", None)
_SET: Final = template(b"SET", None, None)
_SET_PX: Final = template(b"SET", None, None, b"PX", None)
_SET_KEEPTTL: Final = template(b"SET", None, None, b"KEEPTTL")
_INCRBY: Final = template(b"INCRBY", None, None)
_INCREMENT: Final = template(*INCREMENT.call, b"1", None, None, None)


class RedisBackend(Backend):
    """A backend on a Redis (6.2 or newer) or Valkey server: shared by processes and machines, and it survives them.

    Nothing is connected until the first call, and no ``async with`` is needed, though it works and closes. One object
    serves asyncio, trio and threads at the same time; each event loop has connections of its own, one or two.

    The values on the server are JSON text, counters are integers. With ``prefix=""`` that is what the original stores,
    and the backend owns, and clears, the selected database.

    Args:
        url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://...`` for TLS, or
            ``unix://[[user]:password@]/path?db=0``, as redis-py reads them; or
            ``redis+sentinel://[[user]:password@]host:port,host:port/service[/db]`` (``rediss+sentinel://``) for the
            primary of a service that Sentinels watch; or ``redis+cluster://[[user]:password@]host:port,host:port``
            (``rediss+cluster://``) for a cluster, found by any of its nodes. The keyword arguments below can be given
            as query options, too; the URL wins.
        prefix: What all keys on the server begin with. It can be a query option, too.
        timeout: Seconds that one call may take in all, connecting and sending again included. ``clear`` and ``scan``
            are many calls.
        connect_timeout: Seconds that one attempt to connect may take.
        username: The ACL user; without it the default user.
        password: The password.
        credential_provider: redis-py's ``CredentialProvider``, asked again for each connection, instead of these two.
        client_name: What the connections call themselves on the server.
        protocol: RESP 2 or 3; nothing here needs what 3 adds.
        ssl_context: Use TLS with this context. The default for ``rediss://`` verifies chain and host name.
        socket_keepalive: Whether TCP keepalive is switched on.
        max_connections: How many connections blocking callers may have open at a time; further ones wait.
        sentinel_username: The ACL user of the Sentinels. It can be a query option, too.
        sentinel_password: The password of the Sentinels. It can be a query option, too.
        sentinel_ssl_context: Use TLS with this context for the Sentinels, or none (``False``). The default is what the
            servers have.
        address_map: Where a node of a cluster, or the primary of a service, is reached if the address that is announced
            cannot be: a mapping of ``(host, port)`` to ``(host, port)``, or a function from one to the other.

    Raises:
        ImportError: The ``redis`` extra is not installed.
        TypeError, ValueError: An option is unknown or not valid.
    """

    def __init__(
        self,
        url: str | AnyUrl = "redis://localhost:6379/0",
        *,
        prefix: str = "reinhardt:",
        timeout: float = 5.0,
        connect_timeout: float = 5.0,
        username: str | None = None,
        password: str | None = None,
        credential_provider: CredentialProvider | None = None,
        client_name: str | None = None,
        protocol: int = 2,
        ssl_context: ssl.SSLContext | None = None,
        socket_keepalive: bool = True,
        max_connections: int = 64,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        sentinel_ssl_context: ssl.SSLContext | Literal[False] | None = None,
        address_map: AddressMap | None = None,
    ) -> None:
        failure: Exception | None = None
        try:
            own, url = _reading().take_option(url_text(url), "prefix")
            self._use(
                _reading().options_from_url(
                    cast("str", url),
                    timeout=timeout,
                    connect_timeout=connect_timeout,
                    username=username,
                    password=password,
                    credential_provider=credential_provider,
                    client_name=client_name,
                    protocol=protocol,
                    ssl_context=ssl_context,
                    socket_keepalive=socket_keepalive,
                    max_connections=max_connections,
                    sentinel_username=sentinel_username,
                    sentinel_password=sentinel_password,
                    sentinel_ssl_context=sentinel_ssl_context,
                    address_map=address_map,
                ),
                prefix if own is None else own,
            )
        except (ImportError, TypeError, ValueError) as error:
            failure = error.with_traceback(None)
        finally:
            # A traceback may show the variables of this frame.
            del url, password, sentinel_password, credential_provider
        if failure is not None:
            raise failure

    @classmethod
    async def connect(cls, url: str | AnyUrl = "redis://localhost:6379/0", **options: Any) -> Self:
        """Make a backend and reach the server at once.

        Args:
            url: As for the class.
            **options: As for the class.

        Raises:
            BackendConnectionError: The server could not be reached.
        """
        given = Secret((url, options))
        del url, options
        backend = cls(given.reveal()[0], **given.reveal()[1])
        try:
            await backend.ping()
        except BaseException:
            await backend.aclose()
            raise
        return backend

    @classmethod
    def from_client(cls, client: Any, *, prefix: str = "reinhardt:") -> Self:
        """Make a backend that connects as a redis-py client does.

        Only the settings are taken over; the client is not used and stays open.

        Args:
            client: A configured ``redis.Redis`` or ``redis.asyncio.Redis``, also one made by ``Sentinel.master_for``,
                or a ``RedisCluster`` of either.
            prefix: What all keys on the server begin with.

        Raises:
            TypeError: It is no such client.
            ValueError: It is configured in a way that has no counterpart here.
        """
        backend = cls.__new__(cls)
        backend._use(_reading().options_from_client(client), prefix)
        return backend

    @classmethod
    def _from_url(cls, url: str, **options: Any) -> Self:
        given = Secret((url, options))
        del url, options
        return cls(given.reveal()[0], **given.reveal()[1])

    def _use(self, options: Options | ClusterOptions, prefix: str) -> None:
        self._prefix = check_prefix(prefix)
        self._client: Client = _reading().client_for(options)

    def __repr__(self) -> str:
        # A debugger may show an object whose making failed.
        client: Client | None = getattr(self, "_client", None)
        where = "not connected to anything" if client is None else client.location
        return f"<{type(self).__name__} {where} prefix={getattr(self, '_prefix', None)!r}>"

    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        name = self._full(key).encode()
        await self._client.send(_IDEMPOTENT, name, _packed_set(name, encode(value), ttl), WORD)

    @typed_as(Backend.get)
    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        name = self._full(key)
        if type is not str:
            check_type(type)
        if renew is not None:
            return await self._get_renewed(key, name, type, default, check_ttl(renew) or 0)
        word = name.encode()
        data = await self._client.send(_READ, word, _GET % (len(word), word), VALUE)
        return default if data is None else decode(data, type, key=key)

    async def delete(self, key: str) -> bool:
        return bool(await self._client.call(Kind.ONCE, b"DEL", self._full(key), expects=NUMBER))

    async def exists(self, key: str) -> bool:
        return bool(await self._client.call(Kind.READ, b"EXISTS", self._full(key), expects=NUMBER))

    async def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        name = self._full(key).encode()
        milliseconds = check_ttl(ttl)
        step = b"%d" % check_count(by)
        try:
            if milliseconds is None:
                data = _INCRBY % (len(name), name, len(step), step)
                return int(await self._client.send(_ONCE, name, data, NUMBER))
            expiry = b"%d" % milliseconds
            data = _INCREMENT % (len(name), name, len(step), step, len(expiry), expiry)
            return int(await self._client.send(_ONCE, name, data, COUNTER))
        except ResponseError as error:
            counter_error = _counter_error(key, error)
            if counter_error is None:
                raise
            raise counter_error from error

    async def clear(self) -> None:
        await self._clear_prefix("")

    async def add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        check_ttl(ttl)  # KEEP_TTL is not for a key that is missing
        name, data, expiry = self._full(key), encode(value), _expiry(ttl)
        return await self._client.call(Kind.ONCE, b"SET", name, data, b"NX", *expiry, expects=VALUE) is not None

    async def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        name, data, expiry = self._full(key), encode(value), _expiry(ttl)
        return await self._client.call(Kind.ONCE, b"SET", name, data, b"XX", *expiry, expects=VALUE) is not None

    @typed_as(Backend.pop)
    async def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        name = self._full(key)
        if type is Any:
            data = await self._client.call(Kind.ONCE, b"GETDEL", name, expects=VALUE)
            return default if data is None else decode(data, key=key)
        check_type(type)
        deadline = self._client.deadline()
        while True:
            data = await self._client.call(Kind.READ, b"GET", name, expects=VALUE, deadline=deadline)
            if data is None:
                return default
            value = decode(data, type, key=key)
            if await COMPARE_AND_DELETE.run(self._client, Kind.ONCE, NUMBER, (name,), data, deadline=deadline):
                return value

    async def ttl(self, key: str) -> float | None:
        left = await self._client.call(Kind.READ, b"PTTL", self._full(key), expects=NUMBER)
        if left < 0:
            return math.inf if left == -1 else None
        return float(max(left, 1) / 1000)

    async def touch(self, key: str, ttl: TTL | None) -> bool:
        name = self._full(key)
        milliseconds = check_ttl(ttl)
        if milliseconds is None:
            return bool(await PERSIST.run(self._client, Kind.IDEMPOTENT, NUMBER, (name,)))
        return bool(await self._client.call(Kind.IDEMPOTENT, b"PEXPIRE", name, milliseconds, expects=NUMBER))

    @typed_as(Backend.get_many)
    async def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        asked = check_keys(keys)
        check_type(type)
        self._check_open()
        batches = list(_batches(asked))
        commands: list[Words] = [(b"MGET", *map(self._full, batch)) for batch in batches]
        expects = Reply(items=(bytes, NoneType), lengths=[len(batch) for batch in batches])
        if len(commands) == 1:
            # The usual case, by the shorter way.
            values = await self._client.call(Kind.READ, *commands[0], expects=expects)
        else:
            replies = await self._client.call_many(Kind.READ, commands, expects=expects)
            values = [data for reply in replies for data in reply]
        return {key: decode(data, type, key=key) for key, data in zip(asked, values, strict=True) if data is not None}

    async def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        pairs = [(self._full(key), encode(value)) for key, value in check_mapping(mapping)]
        expiry = _expiry(ttl)
        self._check_open()
        deadline = self._client.deadline()
        for batch in _batches(pairs):
            if expiry:
                commands = [(b"SET", *pair, *expiry) for pair in batch]
                await self._client.call_many(Kind.IDEMPOTENT, commands, expects=WORD, deadline=deadline)
            else:
                words = (word for pair in batch for word in pair)
                await self._client.call(Kind.IDEMPOTENT, b"MSET", *words, expects=WORD, deadline=deadline)

    async def delete_many(self, keys: Iterable[str]) -> int:
        asked = check_keys(keys)
        self._check_open()
        commands: list[Words] = [(b"DEL", *map(self._full, batch)) for batch in _batches(asked)]
        return sum(await self._client.call_many(Kind.ONCE, commands, expects=NUMBER))

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        name, there, data, expiry = self._full(key), encode(expected), encode(value), _expiry(ttl)
        return bool(await COMPARE_AND_SET.run(self._client, Kind.ONCE, NUMBER, (name,), there, data, *expiry))

    async def compare_and_delete(self, key: str, expected: Any) -> bool:
        name, there = self._full(key), encode(expected)
        return bool(await COMPARE_AND_DELETE.run(self._client, Kind.ONCE, NUMBER, (name,), there))

    async def increment_existing(self, key: str, *, by: int = 1) -> int | None:
        name = self._full(key)
        step = b"%d" % check_count(by)
        try:
            total = await INCREMENT_EXISTING.run(self._client, Kind.ONCE, EXISTING_COUNTER, (name,), step)
        except ResponseError as error:
            counter_error = _counter_error(key, error)
            if counter_error is None:
                raise
            raise counter_error from error
        return None if total is None else int(total)

    @typed_as(Backend.get_and_renew)
    async def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
        name = self._full(key)
        check_type(type)
        milliseconds = check_ttl(check_some_ttl(ttl))
        return await self._get_renewed(key, name, type, default, milliseconds or 0, _EXPIRING)

    async def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        name = self._full(key).encode()
        await self._client.send(_IDEMPOTENT, name, _packed_set(name, encode_json(text), ttl), WORD)

    async def get_json(self, key: str) -> str | None:
        name = self._full(key).encode()
        data = await self._client.send(_READ, name, _GET % (len(name), name), VALUE)
        return None if data is None else decode_json(data, key=key)

    async def time(self) -> float:
        seconds, microseconds = await self._client.call(Kind.READ, b"TIME", expects=TIME)
        return int(seconds) + int(microseconds) / 1_000_000

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return ScannedKeys(self._client, self._prefix, check_prefix(prefix))

    async def ping(self) -> None:
        await self._client.call(Kind.READ, b"PING", expects=WORD)

    async def aclose(self) -> None:
        await self._client.aclose()

    def stats(self) -> BackendStats:
        return self._client.stats()

    def _store_info(self) -> StoreInfo:
        return self._client.store_info()

    def _runs_steps(self) -> bool:
        return True

    async def _run_step(self, step: Step, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:
        kind = Kind.IDEMPOTENT if step.harmless else Kind.ONCE
        script = script_of(step)
        names = [self._full(key) for key in keys]
        return await self._client.call(kind, *script.call, b"%d" % len(names), *names, *args, expects=ANSWER)

    def _run_key_step(self, step: KeyStep, key: str) -> Awaitable[Any]:
        name = self._full(key).encode()
        return self._client.send(_ONCE, name, template_of(step) % (len(name), name), ANSWER)

    async def _get_renewed(self, key: str, name: str, type: Any, default: Any, *args: int | bytes) -> Any:
        deadline = self._client.deadline()
        reply = await RENEW.run(self._client, Kind.ONCE, RENEWED, (name,), *args, deadline=deadline)
        if reply is None:
            return default
        data, before, renewed = reply
        try:
            return decode(data, type, key=key)
        except DeserializationError:
            # A call that raises has changed nothing: the expiry goes back to what it was.
            if renewed:
                words = (data, before, renewed)
                await RESTORE.run(self._client, Kind.IDEMPOTENT, NUMBER, (name,), *words, deadline=deadline)
            raise

    async def _clear_prefix(self, prefix: str) -> None:
        pages = self._client.pages((self._prefix + prefix).encode())
        names = await pages.next()
        while names:
            names = await pages.unlink(names)

    def _blocking_twin(self) -> Backend | None:
        if type(self) is not RedisBackend and type(self).__dict__.get("never_suspends") is not True:
            return None
        client = self._client.blocking()
        return self if client is self._client else self._with_client(client)

    def _with_timeout(self, seconds: float) -> Backend:
        view = self._with_client(self._client.with_timeout(seconds))
        # A subclass may wait for other things, too.
        return Deadline(view, seconds) if self._blocking_twin() is None else view

    def _with_client(self, client: Client) -> Self:
        """Return a view of this backend that uses the same connections through another client."""
        view = type(self).__new__(type(self))
        vars(view).update(vars(self))
        view._client = client
        return view

    def _check_open(self) -> None:
        """Refuse what would have nothing to send, and so would not find out."""
        if self._client.is_closed:
            raise BackendClosedError("the backend is closed")

    def _full(self, key: str) -> str:
        if key.__class__ is not str or not key.isascii():
            key = check_key(key)
        return self._prefix + key


def _reading() -> Any:
    """Return the module that reads urls and clients."""
    try:
        from . import _urls
    except ImportError as error:
        raise ImportError(
            'RedisBackend needs redis-py and hiredis: pip install "reinhardt-backends[redis]"', name=error.name
        ) from error
    return _urls


def _packed_set(name: bytes, data: bytes, ttl: TTL | KeepTTL | None) -> bytes:
    """The bytes of a ``SET``."""
    checked = None if ttl is None else check_new_ttl(ttl)
    if checked is None:
        return _SET % (len(name), name, len(data), data)
    if isinstance(checked, KeepTTL):
        return _SET_KEEPTTL % (len(name), name, len(data), data)
    left = b"%d" % checked
    return _SET_PX % (len(name), name, len(data), data, len(left), left)


def _expiry(ttl: TTL | KeepTTL | None) -> tuple[bytes | int, ...]:
    """The words that give a ``SET`` its expiry."""
    checked = check_new_ttl(ttl)
    if checked is None:
        return ()
    return (b"KEEPTTL",) if isinstance(checked, KeepTTL) else (b"PX", b"%d" % checked)


def _batches(items: Sequence[S]) -> Iterator[Sequence[S]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _counter_error(key: str, error: ResponseError) -> CounterError | None:
    """What a refusal to increment says about the counter, if anything."""
    text = str(error)
    if error.code == "WRONGTYPE" or "not an integer" in text:
        return CounterError(f"the value of {key!r} is not an integer of the signed 64-bit range")
    if "would overflow" in text:
        return CounterError(f"the counter {key!r} would leave the signed 64-bit range")
    return None
