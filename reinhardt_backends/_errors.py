"""The error tree: everything a backend raises that is not a plain ``TypeError`` or ``ValueError``.

Every class takes one message; what a program may want to look at comes as keyword arguments and is kept as an
attribute. Instances can be copied and sent to another process.

Two rules hold wherever one of these is raised. The cause is chained, unless its text could show a stored value or a
secret: then the error is raised outside the ``except`` block, so that nothing of the cause is kept. And a message
names keys, types, addresses and declared field names only, never a value or a password.
"""

from __future__ import annotations


class BackendError(Exception):
    """Base class of every error that a backend raises."""


class SerializationError(BackendError):
    """A value cannot be stored, since it could not be read back. Nothing was written.

    The message names the type of the value and, where it is known, the place in it.
    """


class DeserializationError(BackendError):
    """Stored bytes are not a valid value of the type that was asked for.

    Attributes:
        key: The key that was read, in a namespace with its prefix; ``None`` where the bytes did not come from a key.
        type_name: The type that was asked for, as text.
    """

    def __init__(self, message: str = "", *, key: str | None = None, type_name: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.type_name = type_name


class CounterError(BackendError):
    """The stored value is not an integer, or the result would leave the signed 64-bit range. Nothing was changed."""


class CapacityError(BackendError):
    """One value alone is larger than the whole backend may grow. Nothing was changed."""


class UnsupportedOperationError(BackendError):
    """A verb that the backend's class does not provide.

    Attributes:
        verb: The name of the verb.
        class_name: The name of the class that does not provide it.
    """

    def __init__(self, message: str = "", *, verb: str | None = None, class_name: str | None = None) -> None:
        super().__init__(message)
        self.verb = verb
        self.class_name = class_name


class BackendClosedError(BackendError):
    """The backend, or the view of it, was used after it was closed, or the call was cut off by closing it."""


class ResponseError(BackendError):
    """The server refused the command.

    Attributes:
        code: The server's own word for the reason (``OOM``, ``READONLY``, ``NOPERM``, ``WRONGTYPE``, ...).
    """

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class SessionConflictError(BackendError):
    """A session was changed elsewhere since it was loaded, or has ended. Nothing was changed.

    Attributes:
        ended: Whether the session has ended: it expired or was revoked. If not, load it again and repeat the change.
    """

    def __init__(self, message: str = "", *, ended: bool = False) -> None:
        super().__init__(message)
        self.ended = ended


class LockLostError(BackendError):
    """A lock ran out before it was released, so another holder may have taken it meanwhile."""


class OutcomeUnknownError(BackendError):
    """A write may have been sent and no reply came: it may or may not have been applied.

    The timeout or the broken connection is the cause. Whether to repeat the write is for the caller to decide.
    """


class BackendConnectionError(BackendError):
    """The server could not be reached, or the connection broke, and nothing was changed."""


class AuthenticationError(BackendConnectionError):
    """The server wants other credentials than it was given, or any at all."""


class BackendTimeoutError(BackendConnectionError, TimeoutError):
    """The deadline of the call passed, and nothing was changed. Also a builtin ``TimeoutError``."""
