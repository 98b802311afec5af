"""Key templates: ``"user:{user_id}"`` and the arguments of a call make a key.

Two calls must not share a key unless the texts of their arguments are the same, whatever somebody puts into an argument
that comes from outside. So an argument may not bring along a colon, or what ends it in the template; where one does,
the key is made of a hash of all of them instead, in a form that the template makes in no other way.
"""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from string import Formatter
from typing import Any, Final

from pydantic_core import to_json

from .._types import check_key

_FORMATTER: Final = Formatter()
_ROOT: Final = re.compile(r"[^.\[]*")
_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_PLAIN: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Arguments = tuple[Any, ...]


class KeyTemplate:
    """A template over the parameters of a function.

    Attributes:
        arity: How many positional arguments ``quick`` takes; -1 if it never fits.
        quick: Returns the key of that many positional arguments.

    Args:
        template: Text with fields as ``str.format`` has them, each naming a parameter: ``{user_id}``, ``{user.id}``,
            ``{day:%Y}``.
        signature: The function's.
        prefix: What the keys begin with.

    Raises:
        TypeError: The template is not a ``str``.
        ValueError: It cannot be read, names no parameter of the function, or has nothing between two fields.
    """

    __slots__ = ("_defaults", "_fields", "_keywords", "_literals", "_marks", "_names", "_signature", "arity", "quick")

    def __init__(self, template: str, signature: inspect.Signature, prefix: str = "") -> None:
        if not isinstance(template, str):
            raise TypeError(f"a key template must be a str, not {type(template).__name__}")
        self._signature = signature
        self._fields: list[_Field] = []
        self._literals = [prefix]
        for literal, name, spec, conversion in _FORMATTER.parse(check_key(template)):
            self._literals[-1] += literal
            if name is not None:
                self._fields.append(_Field(name, spec or "", conversion, signature))
                self._literals.append("")
        between = self._literals[1:-1]
        if not all(between):
            raise ValueError(f"there must be something between the fields of {template!r}")
        self._marks = {":", *(literal[0] for literal in between)}
        parameters = signature.parameters.values()
        plain = all(parameter.kind in _PLAIN for parameter in parameters)
        self.arity = len(parameters) if plain else -1
        self._names = list(signature.parameters)
        self._keywords = {parameter.name for parameter in parameters if parameter.kind not in _BY_PLACE}
        self._defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
        self.quick: Callable[[Arguments], str] = self._quick()

    def key(self, args: Arguments, kwargs: dict[str, Any]) -> str:
        """Return the key of a call.

        Raises:
            TypeError: The function cannot be called so.
        """
        if self.arity >= 0 and (arranged := self._arranged(args, kwargs)) is not None:
            return self.quick(arranged)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self._joined([field.text(bound.arguments) for field in self._fields])

    def _arranged(self, args: Arguments, kwargs: dict[str, Any]) -> Arguments | None:
        """Return the arguments of a call by their places, ``None`` if that takes a closer look."""
        values = list(args)
        used = 0
        for name in self._names[len(args) :]:
            if name in kwargs and name in self._keywords:
                values.append(kwargs[name])
                used += 1
            elif name in self._defaults:
                values.append(self._defaults[name])
        return tuple(values) if len(values) == self.arity and used == len(kwargs) else None

    def _quick(self) -> Callable[[Arguments], str]:
        if self.arity > 0 and self._fields and all(field.plain for field in self._fields):
            places = [self._names.index(field.name) for field in self._fields]
            if len(places) == 1:
                return _one_field(self._literals, places[0], self._joined)
            return _plain_fields(self._literals, places, self.arity, self._marks, self._joined)

        def quick(args: Arguments) -> str:
            arguments = dict(zip(self._names, args, strict=True))
            return self._joined([field.text(arguments) for field in self._fields])

        return quick

    def _joined(self, texts: Sequence[str]) -> str:
        if any(mark in text for text in texts for mark in self._marks):
            # One colon more than in any key that is not hashed.
            return f"{''.join(self._literals)}:{sha256(to_json(texts)).hexdigest()}"
        parts = [self._literals[0]]
        for text, literal in zip(texts, self._literals[1:], strict=True):
            parts += (text, literal)
        return "".join(parts)


class _Field:
    __slots__ = ("_conversion", "_spec", "name", "path", "plain")

    def __init__(self, path: str, spec: str, conversion: str | None, signature: inspect.Signature) -> None:
        root = _ROOT.match(path)
        self.name = root.group() if root else ""
        if self.name not in signature.parameters:
            what = f"{self.name!r} is no parameter" if self.name else "a field without a name"
            raise ValueError(f"a key template names parameters of the function, as in '{{user_id}}': {what}")
        if "{" in spec:
            raise ValueError("a key template cannot have a field within a field")
        if conversion not in (None, "s", "r", "a"):
            raise ValueError(f"a key template cannot have the conversion {conversion!r}")
        self.path = path
        self.plain = path == self.name and not spec and conversion is None
        self._spec = spec
        self._conversion = conversion

    def text(self, arguments: dict[str, Any]) -> str:
        value = arguments[self.name] if self.path == self.name else _FORMATTER.get_field(self.path, (), arguments)[0]
        if self._conversion is None and not self._spec:
            return str(value)
        return format(_FORMATTER.convert_field(value, self._conversion), self._spec)


def _one_field(
    literals: Sequence[str], place: int, joined: Callable[[Sequence[str]], str]
) -> Callable[[Arguments], str]:
    head, tail = literals

    def quick(args: Arguments) -> str:
        text = str(args[place])
        return joined((text,)) if ":" in text else head + text + tail

    return quick


def _plain_fields(
    literals: Sequence[str], places: list[int], arity: int, marks: set[str], joined: Callable[[Sequence[str]], str]
) -> Callable[[Arguments], str]:
    pattern = "%s".join(literal.replace("%", "%%") for literal in literals)
    pick = operator.itemgetter(*places)
    straight = places == list(range(arity))
    # No argument brings along a mark if the key has as many of each as the template.
    whole = "".join(literals)
    (mark, count), *others = sorted((mark, whole.count(mark)) for mark in marks)

    def quick(args: Arguments) -> str:
        given = args if straight else pick(args)
        key: str = pattern % given
        if key.count(mark) == count and (not others or all(key.count(other) == fits for other, fits in others)):
            return key
        return joined([str(value) for value in given])

    return quick
