"""Copies of exceptions, for those that wait for one computation that fails.

Raising one object in many places adds the frames of each to its traceback, and lets each change what the others see.
"""

from __future__ import annotations

import copy
from types import TracebackType
from typing import Any


def fresh_copy(error: Exception, traceback: TracebackType | None = None) -> Exception:
    """Return an equal exception with a traceback; the original if it cannot be copied."""
    for make in (_without_constructor, copy.copy):
        try:
            made = make(error)
            if made.__class__ is error.__class__ and made is not error and str(made) == str(error):
                made.__cause__, made.__context__ = error.__cause__, error.__context__
                made.__suppress_context__ = error.__suppress_context__
                return made.with_traceback(traceback)
        except Exception:  # noqa: S112 - whatever a class of the program does, the next way is tried
            continue
    return error.with_traceback(traceback)


def _without_constructor(error: Exception) -> Exception:
    """Copy an exception without calling constructors of the program, which may take other arguments than ``args``."""
    cls = error.__class__
    builtin: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    _, args, *state = builtin.__reduce__(error)
    made = cls.__new__(cls, *args)
    builtin.__init__(made, *args)
    for values in state:
        made.__setstate__(values)
    made.args = error.args
    return made
