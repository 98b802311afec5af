"""Values to bytes and back.

* ``_codec``: what is stored of a value, and the value read again; the form in which the memory backend keeps it.
* ``_json_text``: text that is JSON already.
* ``_readers``: how a type is read, cached by type.
* ``_round_trip``: JSON text of a value, only if it can be read back. This is judged by
  ``_untyped`` (by the class of the value), ``_compile`` (from the schema of a class, once), ``_checks`` and
  ``_read_back`` (what checks consist of), and ``_walk`` (a search of the text, where a schema does not decide).
"""

from __future__ import annotations

from ._codec import check_type, decode, encode, takes_bytes
from ._counter import check_total
from ._json_text import decode_json, encode_json

__all__ = ["check_total", "check_type", "decode", "decode_json", "encode", "encode_json", "takes_bytes"]
