"""Django: what ``DjangoCache`` stores of a value.

A value is stored as JSON, as by ``Backend.set``. Django caches any object, and JSON would give many of them back as
something else, so such a value is refused; or, if the settings say so, it is pickled and signed with ``SECRET_KEY``.
"""

from __future__ import annotations

import hmac
import pickle
from types import NoneType
from typing import Any, Final

from django.conf import settings
from django.utils.crypto import salted_hmac

from . import SerializationError, decode, encode

UNSIGNED: Final = object()
"""What others have written, or an earlier ``SECRET_KEY`` has signed. It is as if it were missing."""

_SCALARS: Final = (str, int, bool, NoneType)
_MAC: Final = 32


class JSONValues:
    """Stores values as JSON, and refuses those that would come back as something else."""

    def dump(self, name: str, value: Any) -> Any:
        """Return what to store of a value.

        Raises:
            SerializationError: The value cannot be stored, or would come back as something else.
        """
        if value.__class__ in _SCALARS or decode(encode(value)) == value:
            return value
        kind = type(value).__name__
        raise SerializationError(f"a value of type {kind} changes as JSON; SERIALIZER 'signed-pickle' can store it")

    def load(self, name: str, stored: Any) -> Any:
        """Return the value of what was stored."""
        return stored


class SignedPickles:
    """Stores strings, integers, booleans and ``None`` as JSON, and pickles and signs everything else.

    The signature counts for one key only. Nothing is unpickled whose signature is not valid.
    """

    def dump(self, name: str, value: Any) -> Any:
        """Return what to store of a value. What pickle raises is raised."""
        if value.__class__ in _SCALARS:
            return value
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return _mac(name, data, settings.SECRET_KEY) + data

    def load(self, name: str, stored: Any) -> Any:
        """Return the value of what was stored, or ``UNSIGNED``."""
        if stored.__class__ is not bytes:
            return stored
        mac, data = stored[:_MAC], stored[_MAC:]
        return pickle.loads(data) if _is_signed(name, mac, data) else UNSIGNED  # noqa: S301 - signed, for this very key


def _is_signed(name: str, mac: bytes, data: bytes) -> bool:
    # Apart from the unpickling, which may fail: a traceback may show the variables.
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(hmac.compare_digest(mac, _mac(name, data, secret)) for secret in secrets)


def _mac(name: str, data: bytes, secret: str | bytes) -> bytes:
    return salted_hmac(f"reinhardt_backends.django {name}", data, secret, algorithm="sha256").digest()
