"""What the author of a backend needs to keep the contract: the checks that every backend makes, and the codec.

Each check returns its argument in the one form that the library works with, or raises ``TypeError`` or ``ValueError``.
Check everything before you write anything, so that a bad argument changes nothing.

| verb | checks |
| --- | --- |
| every verb with a key | ``check_key``, which returns an exact ``str`` |
| ``get_many``, ``delete_many`` | ``check_keys``: a list without duplicates |
| ``set_many`` | ``check_mapping``: pairs |
| ``scan`` | ``check_prefix`` |
| ``set``, ``replace``, ``set_many``, ``compare_and_set`` | ``check_new_ttl``, which also takes ``KEEP_TTL`` |
| ``add``, ``touch``, ``increment``, ``get(renew=)`` | ``check_ttl``: whole milliseconds, or ``None`` |
| ``increment`` | ``check_count``: an exact ``int`` of the signed 64-bit range; ``check_total``: the new value |
| ``increment_existing`` | as for ``increment`` |
| ``get_and_renew`` | ``check_ttl`` and ``check_type``; its ttl is never ``None`` |
| ``get``, ``pop``, ``get_many`` | ``check_type``, also where the key is missing |
| ``with_timeout``, ``wait_until_ready`` | ``check_seconds``: a ``float`` |

``encode`` turns a value into the bytes to store, and ``decode`` those bytes into a value of a type; ``encode_json`` and
``decode_json`` do the same for ``set_json`` and ``get_json``.
``reinhardt_backends.testing.BackendConformance`` tests the result.
"""

from __future__ import annotations

from ._types import (
    KEEP_TTL,
    TTL,
    JSONValue,
    KeepTTL,
    check_count,
    check_key,
    check_keys,
    check_mapping,
    check_new_ttl,
    check_prefix,
    check_seconds,
    check_ttl,
)
from ._values import check_total, check_type, decode, decode_json, encode, encode_json

__all__ = [
    "KEEP_TTL",
    "TTL",
    "JSONValue",
    "KeepTTL",
    "check_count",
    "check_key",
    "check_keys",
    "check_mapping",
    "check_new_ttl",
    "check_prefix",
    "check_seconds",
    "check_total",
    "check_ttl",
    "check_type",
    "decode",
    "decode_json",
    "encode",
    "encode_json",
]
