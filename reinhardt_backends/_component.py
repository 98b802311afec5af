"""What a component needs of the backend that it is given: found out when it is built, not in the middle of a request.

A verb is there if the class of the backend has one of its own, in place of the one of ``Backend`` that only says that
it is not provided, or if that one is composed of others. A namespace has what its parent has.
"""

from __future__ import annotations

from typing import Final

from ._backend import Backend, Namespace
from ._errors import UnsupportedOperationError

_COMPOSED: Final = frozenset({"get_many", "set_many", "delete_many", "namespace", "ping", "aclose"})


def check_backend(backend: Backend, component: str) -> Backend:
    """Return what a component was given as its backend.

    Raises:
        TypeError: It is no ``Backend``.
    """
    if isinstance(backend, Backend):
        return backend
    raise TypeError(f"{component} takes a Backend, not {type(backend).__name__}")


def provides(backend: Backend, *verbs: str) -> bool:
    """Whether a backend provides every one of these verbs."""
    return not _missing(backend, verbs)


def require(backend: Backend, component: str, *verbs: str) -> None:
    """Check that a backend provides the verbs that a component needs.

    Raises:
        UnsupportedOperationError: It does not; the message and ``verb`` name those that are missing.
    """
    missing = _missing(backend, verbs)
    if missing:
        name = type(_root(backend)).__qualname__
        verb = ", ".join(missing)
        raise UnsupportedOperationError(
            f"{component} needs {' and '.join(verbs)}; {name} does not provide {verb}", verb=verb, class_name=name
        )


def _missing(backend: Backend, verbs: tuple[str, ...]) -> list[str]:
    provider = type(_root(backend))
    needed = [verb for verb in verbs if verb not in _COMPOSED]
    return [verb for verb in needed if getattr(provider, verb) is getattr(Backend, verb)]


def _root(backend: Backend) -> Backend:
    while isinstance(backend, Namespace):
        backend = backend._parent
    return backend
