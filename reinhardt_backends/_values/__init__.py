"""Values to bytes and back: pydantic's readers for types, and the proof that what is written can be read."""

from __future__ import annotations

from ._codec import check_type, decode, encode, takes_bytes

__all__ = ["check_type", "decode", "encode", "takes_bytes"]
