"""Key templates: ``"user:{user_id}"`` and the arguments of a call make a key.

Arguments may come from outside, so two calls must not share a key unless their arguments are the same. Each kind of
argument has one spelling, and no two have the same:

* a ``str`` is percent-encoded, except for letters, digits, ``-``, ``_``, ``.`` and ``~``;
* an ``int``, a ``bool``, ``None``, a ``UUID`` and a ``date`` are spelled as ``str()`` does;
* a ``str`` that reads like one of those, such as ``"42"``, gets a leading ``'``, which encoded text never has.

What a field converts or formats, as in ``{day:%Y}`` or ``{price!s}``, is text, whatever it reads like. Everything else
is refused: ``str()`` of a list, a model or an object either is ambiguous or changes from process to process.

Encoded arguments do not have the characters that usually stand between fields, such as ``:`` and ``/``. Where a
template has nothing but characters that arguments may have, as in ``{a}-{b}``, the arguments encode the first of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import date, datetime
from string import Formatter
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from .._types import check_key

SHARED: Final = "__shared__"
"""The field that lets several functions of one cache have the same template. It adds nothing to the key."""

KEYWORDS: Final = frozenset(("True", "False", "None"))
"""The identifiers that a ``str`` argument must not be confused with."""

Arguments = tuple[Any, ...]

_FORMATTER: Final = Formatter()
_ROOT: Final = re.compile(r"[^.\[]*")
_PLAIN: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_SAFE: Final = re.compile(r"[A-Za-z0-9\-_.~]*")
_READS_LIKE_ANOTHER: Final = re.compile(
    r"True|False|None|0|-?[1-9][0-9]*"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)
_IN_ESCAPES: Final = frozenset("0123456789ABCDEF%'")


def default_template(function: Callable[..., Any]) -> str:
    """Return the template of a function that was given none: its module, its qualified name, and all its parameters.

    Raises:
        ValueError: It takes ``*args`` or ``**kwargs``, or is a method, whose object has no spelling in a key.
    """
    parameters = list(inspect.signature(function).parameters.values())
    name = f"{function.__module__}.{function.__qualname__}"
    if any(one.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for one in parameters):
        raise ValueError(f"{name} takes any number of arguments, so it needs a key=")
    if parameters and parameters[0].name in ("self", "cls"):
        raise ValueError(f"{name} is a method, so it needs a key= that names what matters of its object")
    head = name.replace("{", "{{").replace("}", "}}")
    return ":".join([head, *(f"{{{one.name}}}" for one in parameters)])


class _Template:
    """Literals and fields over the parameters of a function.

    Raises:
        TypeError: The template is not a ``str``.
        ValueError: It cannot be read, or names no parameter of the function.
    """

    def __init__(self, template: str, signature: inspect.Signature) -> None:
        if not isinstance(template, str):
            raise TypeError(f"a template must be a str, not {type(template).__name__}")
        self.shared = False
        self._signature = signature
        self._fields: list[_Field] = []
        self._literals = [""]
        for literal, name, spec, conversion in _FORMATTER.parse(check_key(template)):
            self._literals[-1] += literal
            if name == SHARED and not spec and conversion is None:
                self.shared = True
            elif name is not None:
                self._fields.append(_Field(name, spec or "", conversion, signature))
                self._literals.append("")
        self._names = list(signature.parameters)
        parameters = signature.parameters.values()
        plain = all(parameter.kind in _PLAIN for parameter in parameters)
        self._arity = len(self._names) if plain else -1
        self._defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
        self._by_keyword = {one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}

    def _bound(self, args: Arguments, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by the names of the parameters."""
        arranged = self._arranged(args, kwargs)
        if arranged is not None:
            return dict(zip(self._names, arranged, strict=True))
        arguments = self._signature.bind(*args, **kwargs)
        arguments.apply_defaults()
        return arguments.arguments

    def _arranged(self, args: Arguments, kwargs: dict[str, Any]) -> Arguments | None:
        """Return the arguments of a call in the order of the parameters; ``None`` if that takes a closer look."""
        if not kwargs and len(args) == self._arity:
            return args
        values = list(args)
        used = 0
        for name in self._names[len(args) :]:
            if name in kwargs and name in self._by_keyword:
                values.append(kwargs[name])
                used += 1
            elif name in self._defaults:
                values.append(self._defaults[name])
        return tuple(values) if len(values) == self._arity and used == len(kwargs) else None


class KeyTemplate(_Template):
    """The template of a key.

    Attributes:
        shared: Whether other functions of the cache may have the same template.
        single: The text before and after the only field, if that is the only parameter of the function, as it is.

    Args:
        template: Text with fields as ``str.format`` has them, each naming a parameter: ``{user_id}``, ``{user.id}``,
            ``{day:%Y}``.
        signature: The function's.
        prefix: The beginning of the names of all keys.

    Raises:
        TypeError: The template is not a ``str``.
        ValueError: It cannot be read, names no parameter of the function, or has no text between two fields that
            keeps them apart.
    """

    def __init__(self, template: str, signature: inspect.Signature, prefix: str = "") -> None:
        super().__init__(template, signature)
        self._prefix = prefix
        self._encoded = "".join(sorted({_separator(one, template) for one in self._literals[1:-1]} - {""}))
        self._head = prefix + self._literals[0]
        # Where the fields are among the arguments, and what follows each, if they can be spelled without a closer look.
        self._places: list[tuple[int, str]] = []
        if self._arity > 0 and not self._encoded and all(field.plain for field in self._fields):
            places = [self._names.index(field.name) for field in self._fields]
            self._places = list(zip(places, self._literals[1:], strict=True))
        self.single: tuple[str, str] | None = None
        if self._arity == 1 and len(self._fields) == 1 and self._fields[0].plain:
            self.single = self._head, self._literals[1]

    @property
    def shape(self) -> tuple[str, ...]:
        """What two templates have in common that make the same key for some arguments: all but names of parameters."""
        return tuple(self._literals)

    def key(self, args: Arguments, kwargs: dict[str, Any]) -> str:
        """Return the key of a call.

        Raises:
            TypeError: The function cannot be called so, or an argument is of a kind that has no spelling.
        """
        return self.name(args, kwargs)[len(self._prefix) :]

    def name(self, args: Arguments, kwargs: dict[str, Any]) -> str:
        """Return the key of a call with the prefix, as it is called in the backend."""
        if self._places and (arranged := self._arranged(args, kwargs)) is not None:
            quick = self._quick_name(arranged)
            if quick is not None:
                return quick
        arguments = self._bound(args, kwargs)
        parts = [self._prefix, self._literals[0]]
        for field, literal in zip(self._fields, self._literals[1:], strict=True):
            text = field.key_text(arguments)
            for character in self._encoded:
                text = text.replace(character, f"%{ord(character):02X}")
            parts += (text, literal)
        return "".join(parts)

    def _quick_name(self, arguments: Arguments) -> str | None:
        """Return the name for the commonest arguments, which are spelled as they are; ``None`` for others."""
        name = self._head
        for place, literal in self._places:
            argument = arguments[place]
            kind = argument.__class__
            if kind is not int and (
                kind is not str or not argument.isascii() or not argument.isidentifier() or argument in KEYWORDS
            ):
                return None
            name = f"{name}{argument}{literal}"
        return name


class TagTemplate(_Template):
    """The template of a tag: plain text, formatted as ``str.format`` does. What collides is invalidated together."""

    def __init__(self, template: str, signature: inspect.Signature) -> None:
        super().__init__(template, signature)
        if self.shared:
            raise ValueError(f"{{{SHARED}}} is for the template of a key, not of a tag: {template!r}")

    def tag(self, args: Arguments, kwargs: dict[str, Any]) -> str:
        """Return the tag of a call."""
        if not self._fields:
            return self._literals[0]
        arguments = self._bound(args, kwargs)
        if len(self._fields) == 1:
            # The usual case, with nothing to join.
            return check_key(self._literals[0] + self._fields[0].text(arguments) + self._literals[1])
        parts = [self._literals[0]]
        for field, literal in zip(self._fields, self._literals[1:], strict=True):
            parts += (field.text(arguments), literal)
        return check_key("".join(parts))


class _Field:
    __slots__ = ("_conversion", "_path", "_spec", "name", "plain")

    def __init__(self, path: str, spec: str, conversion: str | None, signature: inspect.Signature) -> None:
        root = _ROOT.match(path)
        self.name = root.group() if root else ""
        if self.name not in signature.parameters:
            what = f"{self.name!r} is no parameter" if self.name else "a field without a name"
            raise ValueError(f"a template names parameters of the function, as in '{{user_id}}': {what}")
        if "{" in spec:
            raise ValueError("a template cannot have a field within a field")
        if conversion not in (None, "s", "r", "a"):
            raise ValueError(f"a template cannot have the conversion {conversion!r}")
        self.plain = path == self.name and not spec and conversion is None
        self._path = path
        self._spec = spec
        self._conversion = conversion

    def text(self, arguments: dict[str, Any]) -> str:
        """Return the value of the field as ``str.format`` writes it."""
        if self.plain:
            value = arguments[self.name]
            return value if value.__class__ is str else format(value)
        return format(_FORMATTER.convert_field(self._value(arguments), self._conversion), self._spec)

    def key_text(self, arguments: dict[str, Any]) -> str:
        """Return the value of the field as a part of a key."""
        if self._conversion is not None or self._spec:
            return _percent_encoded(self.text(arguments))
        text = argument_text(self._value(arguments))
        if text is None:
            kind = type(self._value(arguments)).__qualname__
            raise TypeError(
                f"the field {{{self._path}}} of a key cannot be of type {kind}: name an attribute of it, "
                f"as in {{{self._path}.id}}, or convert it, as in {{{self._path}!s}}"
            )
        return text

    def _value(self, arguments: dict[str, Any]) -> Any:
        if self._path == self.name:
            return arguments[self.name]
        return _FORMATTER.get_field(self._path, (), arguments)[0]


def argument_text(value: Any) -> str | None:
    """Return how an argument is spelled in a key, ``None`` if it has no spelling."""
    kind = value.__class__
    if kind is int or kind is bool or value is None:
        return str(value)
    if isinstance(value, str):
        # Of a subclass, as of an Enum, the text itself, as in its JSON.
        text = str.__str__(value)
        if text.isascii() and text.isidentifier() and text not in KEYWORDS:
            return text
        return "'" + text if _READS_LIKE_ANOTHER.fullmatch(text) else _percent_encoded(text)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, UUID) or (isinstance(value, date) and not isinstance(value, datetime)):
        return str(value)
    return None


def _percent_encoded(text: str) -> str:
    return text if _SAFE.fullmatch(text) else quote(check_key(text), safe="")


def _separator(literal: str, template: str) -> str:
    """Return the character of the text between two fields that arguments must not have; empty if they never do."""
    if any(_SAFE.fullmatch(character) is None and character not in _IN_ESCAPES for character in literal):
        return ""
    for character in literal:
        if character not in _IN_ESCAPES:
            return character
    raise ValueError(f"there must be something between the fields of {template!r} that keeps them apart, such as ':'")


class Templates:
    """The key templates of the functions of one cache."""

    def __init__(self) -> None:
        self._declared: dict[tuple[str, ...], tuple[object, bool]] = {}

    def declare(self, template: KeyTemplate, function: Callable[..., Any]) -> None:
        """Note the template of a function.

        Raises:
            ValueError: Another function has the same one, and they do not both say that it is shared.
        """
        owner: object = (function.__module__, function.__qualname__)
        if "<" in function.__qualname__:
            # Functions that were defined in others have no name of their own; a module's may be defined again.
            owner = function
        known, shared = self._declared.setdefault(template.shape, (owner, template.shared))
        if known != owner and not (shared and template.shared):
            name = getattr(known, "__qualname__", known[1] if isinstance(known, tuple) else known)
            raise ValueError(
                f"the key of {function.__qualname__} is that of {name}, so they would share their values; "
                f"give it another template, or write {{{SHARED}}} into both if they should"
            )
