"""Backends from configuration: the schemes of urls, and what builds a backend for each.

Classes of the package are imported when a url asks for them. An option that only another scheme knows is ignored, so
that one configuration serves development on memory and production on Redis.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from .._types import Secret

Factory: TypeAlias = Callable[..., Any]

_BUILT_IN: Final = {
    "memory": ".._memory:MemoryBackend",
    "redis": ".._redis:RedisBackend",
    "rediss": ".._redis:RedisBackend",
    "redis+cluster": ".._redis:RedisBackend",
    "rediss+cluster": ".._redis:RedisBackend",
    "redis+sentinel": ".._redis:RedisBackend",
    "rediss+sentinel": ".._redis:RedisBackend",
    "unix": ".._redis:RedisBackend",
}
_registered: dict[str, Factory] = {}
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")


def register_scheme(name: str, factory: Factory) -> None:
    """Let ``Backend.from_url`` build backends for urls with a scheme of your own.

    Args:
        name: The scheme, as ``"dynamodb"`` for ``dynamodb://...``; lower case. One that was registered before is
            replaced.
        factory: Called with the url and those keyword options that it takes; returns a ``Backend``. May be a class.

    Raises:
        TypeError: ``name`` is not a ``str``, or ``factory`` cannot be called.
        ValueError: ``name`` is not a scheme, or is one of the package's own.
    """
    if not isinstance(name, str):
        raise TypeError(f"a scheme must be a str, not {type(name).__name__}")
    if not _SCHEME.fullmatch(name):
        raise ValueError("a scheme is a lower-case letter, followed by lower-case letters, digits, '+', '.' and '-'")
    if name in _BUILT_IN:
        raise ValueError(f"{name}:// is one of the package's own schemes")
    if not callable(factory):
        raise TypeError(f"a factory must be a function or a class, not {type(factory).__name__}")
    _registered[name] = factory


def url_text(url: Any) -> Any:
    """Return the text of one of pydantic's urls, such as ``RedisDsn``; anything else as it is."""
    if isinstance(url, str):
        return url
    from pydantic import AnyUrl

    return str(url) if isinstance(url, AnyUrl) else url


def build_backend(asked: type[Any], given: Secret[tuple[Any, dict[str, Any]]]) -> Any:
    """Build the backend for a url and options.

    Args:
        asked: The class that the backend must be an instance of.
        given: The url and the options, hidden from tracebacks.
    """
    text = Secret(url_text(given.reveal()[0]))
    if not isinstance(text.reveal(), str):
        raise TypeError(f"a url must be a str, or one of pydantic's urls, not {type(text.reveal()).__name__}")
    scheme = text.reveal().partition(":")[0].lower() if "://" in text.reveal() else ""
    schemes = [*_BUILT_IN, *_registered]
    if scheme not in schemes:
        raise ValueError(f"a backend's url begins with one of {_listed(schemes)}")
    factory = _factory(scheme)
    if isinstance(factory, type):
        if issubclass(asked, factory):
            factory = asked
        elif not issubclass(factory, asked):
            fitting = [name for name in schemes if _fits(_factory(name), asked)]
            raise ValueError(  # noqa: TRY004 - the url is wrong
                f"{asked.__name__}.from_url takes {_listed(fitting) or 'no url'}, not {scheme}://"
            )
    foreign = _foreign_options(factory, frozenset(given.reveal()[1]))
    options = Secret({name: value for name, value in given.reveal()[1].items() if name not in foreign})
    backend = getattr(factory, "_from_url", factory)(text.reveal(), **options.reveal())
    if not isinstance(backend, asked):
        raise TypeError(f"what is registered for {scheme}:// made no {asked.__name__}, but a {type(backend).__name__}")
    return backend


def _factory(scheme: str) -> Any:
    if scheme in _registered:
        return _registered[scheme]
    module, _, name = _BUILT_IN[scheme].partition(":")
    return getattr(importlib.import_module(module, __package__), name)


def _fits(factory: Any, asked: type[Any]) -> bool:
    return isinstance(factory, type) and (issubclass(factory, asked) or issubclass(asked, factory))


def _foreign_options(factory: Any, options: frozenset[str]) -> frozenset[str]:
    """Return the options that a factory does not take. Raise if there is one that no scheme knows."""
    own = _option_names(factory)
    foreign = frozenset[str]() if own is None else options - own
    if foreign:
        schemes = (*_BUILT_IN, *_registered)
        known = sorted({name for scheme in schemes for name in _option_names(_factory(scheme)) or ()})
        unknown = sorted(foreign.difference(known))
        if unknown:
            raise TypeError(
                f"unknown option{'s' * (len(unknown) > 1)} {', '.join(unknown)}; there are {', '.join(known)}"
            )
    return foreign


def _option_names(factory: Any) -> set[str] | None:
    """Return the names of the keyword options of a factory; ``None`` if it takes any."""
    parameters = list(inspect.signature(factory).parameters.values())
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return None
    # The first one is the url, wherever there is one that is not a keyword option.
    named = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    further = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    return named.union(further[1:])


def _listed(schemes: list[str]) -> str:
    return ", ".join(f"{name}://" for name in schemes)
