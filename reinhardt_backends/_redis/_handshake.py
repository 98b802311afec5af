"""Open a connection that is ready for commands: connect, TLS, credentials, database.

A failure here leaves nothing changed on the server, and is raised as ``BackendConnectionError`` or one of its
subclasses. Credentials exist only inside the packed command: no variable of a frame that may raise holds them.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final, cast

from .._backend import NAME, VERSION
from .._errors import (
    AuthenticationError,
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    ResponseError,
)
from .._io import Attempt, Port, Runtime, call_in_thread, connect_tcp, connect_unix
from .._types import Secret
from ._link import Link
from ._mux import CallFailed, Failure, ServerClient, bare, describe
from ._options import Options, check_encodes
from ._protocol import Refusal, error_for, pack, parse, without_echo
from ._wire import PlainWire, TlsWire, Wire

#: The largest segment on a connection for large values. A server writes as much of a reply as the socket takes, and
#: serves no other client meanwhile. Socket buffers are sized in segments, and those of the loopback interface
#: are so large that this can be megabytes.
SEGMENT: Final = 2048

#: Names the library in the server's ``CLIENT LIST``. Servers before 7.2 and some ACLs refuse it, which does no harm.
_LIBRARY: Final = pack((b"CLIENT", b"SETINFO", b"LIB-NAME", NAME)) + pack((b"CLIENT", b"SETINFO", b"LIB-VER", VERSION))

_UNKNOWN_HELLO: Final = ResponseError("the peer knows no HELLO", code="ERR")


async def open_link(
    runtime: Runtime, options: Options, attempt: Attempt, deadline: float, *, large: bool = False
) -> Link:
    """A connection that is ready for commands.

    Args:
        runtime: What the connection serves.
        options: Where to connect, and as whom.
        attempt: Lets another task or thread end the attempt.
        deadline: When the caller's time is up; the attempt itself may take ``connect_timeout`` at most.
        large: Whether the connection is for large values.

    Raises:
        BackendClosedError: The attempt was ended from outside.
        BackendTimeoutError: Nothing answered in time.
        AuthenticationError: The credentials were refused, or are wanted.
        BackendConnectionError: The server could not be reached, or is not one.
        ResponseError: The server refused the database or the client name.
    """
    deadline = min(deadline, monotonic() + options.connect_timeout)
    failure: BackendError
    try:
        port, wire = await _connect(runtime, options, attempt, deadline, large=large)
    except TimeoutError as error:
        failure = BackendTimeoutError(f"{options.location} did not accept a connection in time")
        failure.__cause__ = bare(error)
    except ssl.SSLError as error:
        failure = _tls_failure(options, error)
    except OSError as error:
        if attempt.aborted:
            failure = BackendClosedError("the backend was closed while connecting")
        else:
            failure = BackendConnectionError(f"cannot connect to {options.location}: {describe(error)}")
            failure.__cause__ = bare(error)
    except ValueError as error:
        # A host name that cannot be encoded.
        failure = BackendConnectionError(f"cannot connect to {options.location}: {type(error).__name__}")
    else:
        return await _greet(Link(runtime, port, wire, large=large), runtime, options, attempt, port, deadline)
    raise failure


async def _connect(
    runtime: Runtime, options: Options, attempt: Attempt, deadline: float, *, large: bool
) -> tuple[Port, Wire]:
    if options.path is not None:
        sock, port = await connect_unix(runtime, attempt, options.path, deadline)
    else:
        sock, port = await connect_tcp(
            runtime,
            attempt,
            options.host,
            options.port,
            deadline,
            keepalive=options.socket_keepalive,
            segment=SEGMENT if large else None,
        )
    context = options.ssl_context
    if context is None:
        return port, PlainWire(sock)

    def check() -> None:
        attempt.check()
        if monotonic() >= deadline:
            raise TimeoutError("no answer to the TLS handshake")

    attempt.enter(port.kick, port)
    try:
        wire = TlsWire(sock, context, options.host if options.path is None else None)
        await wire.handshake(port, deadline, check)
    except BaseException:
        port.close()
        raise
    finally:
        attempt.leave()
    return port, wire


async def _greet(link: Link, runtime: Runtime, options: Options, attempt: Attempt, port: Port, deadline: float) -> Link:
    """Authenticate, set the name and select the database, in one round trip."""
    closed = Failure(Failure.CLOSED, "the backend was closed while connecting")
    try:
        credentials = await _credentials(runtime, options, attempt, deadline)
        attempt.enter(partial(link.fail, closed) if runtime.suspends else link.cut, port)
        # Replies stay out of the variables here: what the peer repeats of the credentials would be in the traceback.
        hello = _ask(link, options, *_hello(options, credentials), deadline, named=True)
        outcome = _judge_hello(link, await hello, options)
        if outcome is _UNKNOWN_HELLO:
            # What is older than RESP3, or a proxy, may know no HELLO and still serve RESP2.
            outcome = _judge(await _ask(link, options, *_classic(options, credentials), deadline), options)
        if isinstance(outcome, BackendError):
            raise outcome
        if options.path is not None:
            # The socket of a connection within one machine always tells its state.
            link.idle_limit = link.fresh_until = inf
    except BaseException as error:
        link.fail(Failure(Failure.BROKEN, "the handshake failed"))
        # Closing the client cuts the connection, which looks like any other failure of it.
        if not (attempt.aborted and isinstance(error, BackendError)):
            raise
    finally:
        attempt.leave()
    if attempt.aborted:
        link.fail(closed)
        raise BackendClosedError(closed.text)
    return link


async def _ask(
    link: Link, options: Options, data: Secret[bytes], count: int, deadline: float, *, named: bool = False
) -> list[Any]:
    """Return the replies to the commands. What a refusal repeats of them is cut.

    If ``named``, the name of the library is sent along; the replies to that are discarded when they come.
    """
    failure: BackendError
    try:
        slot = link.begin(data.reveal(), count, deadline)
        if named:
            link.mux.drop(link.begin(_LIBRARY, 2, deadline))
        replies = await link.finish(slot)
        return [_cut(reply, data) for reply in (replies if count > 1 else [replies])]
    except CallFailed as failed:
        end = failed.failure
    if end.reason == Failure.CLOSED:
        raise BackendClosedError(end.text)
    if end.reason in {Failure.EXPIRED, Failure.SILENT}:
        raise BackendTimeoutError(f"{options.location} accepted the connection and did not answer in time")
    if isinstance(end.cause, Refusal):
        raise error_for(_cut(end.cause, data), options.location)
    if isinstance(end.cause, ssl.SSLError):
        raise _tls_failure(options, end.cause)
    failure = BackendConnectionError(f"{options.location}: {end.text}")
    raise failure from end.cause


def _cut(reply: Any, data: Secret[bytes]) -> Any:
    return without_echo(reply, data.reveal()) if isinstance(reply, Refusal) else reply


def _judge_hello(link: Link, replies: list[Any], options: Options) -> BackendError | None:
    """Return what is wrong, if something is. Note the number of the connection, and the role of the server."""
    hello, *others = replies
    if isinstance(hello, Refusal):
        return _UNKNOWN_HELLO if options.protocol == 2 and _is_unknown(hello) else _judge(replies, options)
    if not isinstance(hello, (dict, list)):
        return _not_redis(options)
    items = hello.items() if isinstance(hello, dict) else zip(hello[::2], hello[1::2], strict=False)
    said = {name: value for name, value in items if isinstance(name, bytes)}
    if said.get(b"proto") != options.protocol:
        return _not_redis(options)
    mode = said.get(b"mode")
    if mode == b"cluster" and not options.in_cluster:
        return BackendConnectionError(
            f"{options.location} is a node of a Redis Cluster: connect with a redis+cluster:// url"
        )
    if mode in (b"standalone", b"sentinel") and options.in_cluster:
        return BackendConnectionError(f"{options.location} is no node of a Redis Cluster: connect with a redis:// url")
    if mode == b"sentinel" and not options.is_sentinel:
        return BackendConnectionError(f"{options.location} is a Sentinel: connect with a redis+sentinel:// url")
    number, role = said.get(b"id"), said.get(b"role")
    if isinstance(number, int):
        link.client = ServerClient(number, link.opened, options.location)
    link.is_replica = role in (b"replica", b"slave")
    return _judge(others, options)


def _judge(replies: list[Any], options: Options) -> BackendError | None:
    """Return the error for the first refusal, if there is one. What is not refused is acknowledged by a word."""
    for reply in replies:
        if isinstance(reply, Refusal):
            return error_for(reply, options.location)
        if not isinstance(reply, bytes):
            return _not_redis(options)
    return None


def _not_redis(options: Options) -> BackendConnectionError:
    return BackendConnectionError(f"{options.location} did not answer as a Redis server does")


def _hello(options: Options, credentials: tuple[str, Secret[str]] | None) -> tuple[Secret[bytes], int]:
    hello: list[object] = ["HELLO", options.protocol]
    if credentials is not None:
        hello += ["AUTH", credentials[0] or "default", credentials[1]]
    if options.client_name is not None:
        hello += ["SETNAME", options.client_name]
    return _pack([hello, *_select(options)])


def _classic(options: Options, credentials: tuple[str, Secret[str]] | None) -> tuple[Secret[bytes], int]:
    commands: list[list[object]] = []
    if credentials is not None:
        commands.append(["AUTH", *filter(None, credentials)])
    if options.client_name is not None:
        commands.append(["CLIENT", "SETNAME", options.client_name])
    return _pack([*commands, *_select(options), ["PING"]])


def _select(options: Options) -> list[list[object]]:
    return [["SELECT", options.db]] if options.db else []


def _pack(commands: list[list[object]]) -> tuple[Secret[bytes], int]:
    packed = b"".join(pack(tuple(_plain(word) for word in command)) for command in commands)
    return Secret(packed), len(commands)


def _plain(word: object) -> object:
    return cast("Secret[str]", word).reveal() if isinstance(word, Secret) else word


def _is_unknown(reply: Any) -> bool:
    return isinstance(reply, Refusal) and parse(reply)[1].lower().startswith(("unknown command", "unsupported command"))


class _LateError(Exception):
    """The deadline ended the wait for a credential provider, rather than the provider itself."""


async def _credentials(
    runtime: Runtime, options: Options, attempt: Attempt, deadline: float
) -> tuple[str, Secret[str]] | None:
    """User name (or ``""``) and password; ``None`` if there are none to give."""
    provider = options.credential_provider
    if provider is None:
        password = options.password
        if password is None and options.username is None:
            return None
        return options.username or "", password if isinstance(password, Secret) else Secret("")
    try:
        return _pair(await _from_provider(runtime, provider, attempt, deadline))
    except Exception as error:
        failed = type(error).__name__
        # Timers of an event loop may ring a little before the deadline.
        late = isinstance(error, _LateError) or monotonic() >= deadline
    if attempt.aborted:
        raise BackendClosedError("the backend was closed while connecting")
    if late:
        raise BackendTimeoutError(f"the credential provider for {options.location} did not answer in time")
    raise AuthenticationError(f"the credential provider for {options.location} failed with {failed}")


def _pair(given: Any) -> tuple[str, Secret[str]]:
    pair = ("", Secret(given[0])) if len(given) == 1 else (given[0] or "", Secret(given[1]))
    for part in (Secret(pair[0]), pair[1]):
        check_encodes("credentials", part)
    return pair


async def _from_provider(runtime: Runtime, provider: Any, attempt: Attempt, deadline: float) -> Any:
    import anyio
    from redis.credentials import CredentialProvider

    asynchronous: Callable[[], Awaitable[Any]] | None = getattr(provider, "get_credentials_async", None)
    # redis-py's own base class only warns and calls the other one.
    kind = cast("Any", type(provider))
    inherited = getattr(kind, "get_credentials_async", None) is CredentialProvider.get_credentials_async
    blocking: Callable[[], Any] | None = getattr(provider, "get_credentials", None)
    if getattr(kind, "get_credentials", None) is CredentialProvider.get_credentials:
        blocking = None
    if runtime.suspends and asynchronous is not None and not inherited:
        with anyio.CancelScope(deadline=anyio.current_time() + deadline - monotonic()) as scope:
            attempt.enter(scope.cancel)
            return await asynchronous()
        raise _LateError
    if blocking is not None:
        return await call_in_thread(runtime, attempt, blocking, deadline)
    if asynchronous is None:
        raise TypeError("no get_credentials")
    # For a blocking caller, whose thread and context may have a loop of their own, in a loop in another thread.
    in_a_loop: Callable[[], Any] = partial(anyio.run, asynchronous)
    return await call_in_thread(runtime, attempt, partial(Context().run, in_a_loop), deadline)


def _tls_failure(options: Options, error: BaseException) -> BackendConnectionError:
    reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or type(error).__name__
    failure = BackendConnectionError(f"no TLS connection to {options.location}: {reason}")
    failure.__cause__ = bare(error)
    return failure
