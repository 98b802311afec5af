"""Checks that a value comes back from its JSON text.

A check is quick for a value of exactly the declared types that JSON can spell. Anything else is read back
(``_read_back.py``). ``_compile.py`` makes the check of a class from its schema, once; here is what checks consist of.

Many values of one type are checked by columns: all their classes at once, then each field of all of them, by functions
that CPython runs in C. Only if that fails, each value is looked at, which finds the place of what is wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Any, Final

from pydantic import BaseModel

PLAIN: Final = frozenset({str, int, bool, type(None)})
"""Classes whose values always come back, but for what the text shows: integers past 4,300 digits."""

_MOST_KEY_BITS: Final = 64
_MOST_LEAVES: Final = 64
_MOST_SHAPES: Final = 64


class Refused(Exception):
    """A value that would not come back.

    Attributes:
        part: The innermost value that is refused.
        reason: Why, in words that show no data.
        path: Where it is, innermost step first.
    """

    def __init__(self, part: Any, reason: str) -> None:
        super().__init__(reason)
        self.part = part
        self.reason = reason
        self.path: list[str] = []


class Check(ABC):
    """Checks values of one type."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, value: Any) -> bool:
        """Return ``False`` if the value comes back, ``True`` if only a walk of the whole text can tell.

        Raises:
            Refused: It does not come back.
        """

    def passes(self, values: Collection[Any]) -> bool:
        """Return whether all the values come back; ``False`` if each of them has to be looked at."""
        try:
            return not any(map(self, values))
        except Refused:
            return False


class Always(Check):
    """Passes every value."""

    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        return False

    def passes(self, values: Collection[Any]) -> bool:
        return True


class Walked(Check):
    """Leaves every value to a walk of the text."""

    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        return True


class Leaf(Check):
    """Checks a value by its exact class and, where that is not enough, by a predicate.

    Attributes:
        classes: The classes whose values come back if the predicate holds.
        holds: The predicate, if there is one; best a function in C, since it is mapped over many values.
        images: What JSON spells them as: "string", "number", "bool", "null".
        as_key: Whether distinct values, as keys of a mapping, are distinct strings that come back.
        otherwise: Checks any other value.
    """

    __slots__ = ("as_key", "classes", "holds", "images", "otherwise")

    def __init__(
        self,
        classes: AbstractSet[type],
        images: AbstractSet[str],
        otherwise: Check,
        holds: Callable[[Any], object] | None = None,
        *,
        as_key: bool = False,
    ) -> None:
        self.classes = frozenset(classes)
        self.images = frozenset(images)
        self.otherwise = otherwise
        self.holds = holds
        self.as_key = as_key

    def __call__(self, value: Any) -> bool:
        if value.__class__ in self.classes and (self.holds is None or self.holds(value)):
            return False
        return self.otherwise(value)

    def passes(self, values: Collection[Any]) -> bool:
        return self._are_exact(values) or super().passes(values)

    def are_keys(self, mapping: Collection[Any]) -> bool:
        """Return whether all the keys come back, distinct."""
        # A key of many digits is a string in the text, so that no look at the text finds it.
        return self._are_exact(mapping) and (
            int not in self.classes or max(map(int.bit_length, mapping), default=0) <= _MOST_KEY_BITS
        )

    def _are_exact(self, values: Collection[Any]) -> bool:
        return self.classes.issuperset(map(type, values)) and (self.holds is None or all(map(self.holds, values)))


class Nullable(Check):
    """Passes ``None``, and what another check passes."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Check) -> None:
        self._inner = inner

    def __call__(self, value: Any) -> bool:
        return value is not None and self._inner(value)

    def passes(self, values: Collection[Any]) -> bool:
        return self._inner.passes([value for value in values if value is not None])


class ByClass(Check):
    """Leaves a value to the check of its class."""

    __slots__ = ("_checks", "_otherwise")

    def __init__(self, checks: Mapping[type, Check], otherwise: Check) -> None:
        self._checks = checks
        self._otherwise = otherwise

    def __call__(self, value: Any) -> bool:
        return self._checks.get(value.__class__, self._otherwise)(value)


class Reference(Check):
    """Stands for a check that is not made yet."""

    __slots__ = ("check",)

    def __init__(self) -> None:
        self.check: Check = Walked()

    def __call__(self, value: Any) -> bool:
        return self.check(value)

    def passes(self, values: Collection[Any]) -> bool:
        return not values or self.check.passes(values)


class Items(Check):
    """Checks a list, set or tuple by its exact class, and each of its items."""

    __slots__ = ("_cls", "_items", "_otherwise")

    def __init__(self, cls: type, items: Check, otherwise: Check) -> None:
        self._cls: Any = cls
        self._items = items
        self._otherwise = otherwise

    def __call__(self, value: Any) -> bool:
        return check_items(self._items, value, "[{}]") if value.__class__ is self._cls else self._otherwise(value)

    def passes(self, values: Collection[Any]) -> bool:
        return {self._cls}.issuperset(map(type, values)) and self._items.passes(list(chain.from_iterable(values)))


class Pairs(Check):
    """Checks the keys and the values of a dict."""

    __slots__ = ("_keys", "_otherwise", "_values")

    def __init__(self, keys: Leaf, values: Check, otherwise: Check) -> None:
        self._keys = keys
        self._values = values
        self._otherwise = otherwise

    def __call__(self, value: Any) -> bool:
        if value.__class__ is not dict or not self._keys.are_keys(value):
            return self._otherwise(value)
        return check_items(self._values, value.values(), "[value {}]")

    def passes(self, values: Collection[Any]) -> bool:
        return (
            {dict}.issuperset(map(type, values))
            and self._keys.are_keys(list(chain.from_iterable(values)))
            and self._values.passes(list(chain.from_iterable(map(dict.values, values))))
        )


class Fields(Check):
    """Checks the declared fields of a model or dataclass.

    Most fields are judged by their exact class alone, those of models in fields included. So one call takes all of them
    out of a value, and the tuple of their classes is looked up among those that have passed before.

    Args:
        cls: The exact class.
        checks: The check of each field.
        otherwise: Checks a value of any other class.
        extra: Checks each extra field of a model; ``None`` if it has none.
    """

    __slots__ = (
        "_checks",
        "_cls",
        "_extra",
        "_get",
        "_get_leaves",
        "_get_others",
        "_leaves",
        "_others",
        "_otherwise",
        "_predicates",
        "_rows",
        "_shapes",
    )  # fmt: skip

    def __init__(self, cls: type, checks: Mapping[str, Check], otherwise: Check, extra: Check | None = None) -> None:
        self._cls: Any = cls
        self._checks = checks
        self._otherwise = otherwise
        self._extra = extra
        # By the path from the value: what its class tells, and what it does not.
        self._leaves: dict[str, tuple[frozenset[Any], Callable[[Any], object] | None]] = {}
        self._others: dict[str, Check] = {}
        for name, check in checks.items():
            self._add(name, check)
        self._leaves = dict(sorted(self._leaves.items(), key=lambda leaf: leaf[1][1] is None))
        self._predicates = [holds for _, holds in self._leaves.values() if holds is not None]
        self._shapes: set[tuple[type, ...]] = set()
        self._get = _getter(checks)
        # A model keeps its fields in a dict, where a look-up takes half as long as that of an attribute.
        from_dict = _getter(checks, itemgetter)
        self._rows: Callable[[Iterable[Any]], Iterable[tuple[Any, ...]]] = (
            (lambda models: map(from_dict, map(_dict_of, models)))
            if issubclass(cls, BaseModel)
            else (lambda objects: map(self._get, objects))
        )
        self._get_leaves = _getter(self._leaves)
        self._get_others = _getter(self._others)

    def _add(self, name: str, check: Check) -> None:
        if isinstance(check, Leaf):
            self._leaves[name] = (check.classes, check.holds)
        elif isinstance(check, Fields) and check._extra is None and len(self._leaves) < _MOST_LEAVES:
            self._leaves[name] = (frozenset({check._cls}), None)
            self._leaves.update({f"{name}.{path}": leaf for path, leaf in check._leaves.items()})
            self._others.update({f"{name}.{path}": other for path, other in check._others.items()})
        else:
            self._others[name] = check

    def __call__(self, value: Any) -> bool:
        if value.__class__ is not self._cls:
            return self._otherwise(value)
        walk = False
        try:
            leaves = self._get_leaves(value)
            shape = tuple(map(type, leaves))
            if shape not in self._shapes and not self._fits(shape):
                return self._look(value)
            for holds, leaf in zip(self._predicates, leaves):  # noqa: B905  # ``strict`` takes as long as the rest
                if not holds(leaf):
                    return self._look(value)
            if self._others:
                for check, part in zip(self._others.values(), self._get_others(value)):  # noqa: B905  # likewise
                    if check(part):
                        walk = True
        except (AttributeError, Refused):
            return self._look(value)
        return self._check_extra(value) or walk if self._extra is not None else walk

    def _fits(self, shape: tuple[type, ...]) -> bool:
        if not all(cls in classes for cls, (classes, _) in zip(shape, self._leaves.values(), strict=False)):
            return False
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(shape)
        return True

    def _look(self, value: Any) -> bool:
        """Check field by field, which finds the name of the one that is refused."""
        for name in self._checks:
            if name not in value.__dict__ if isinstance(value, BaseModel) else not hasattr(value, name):
                raise Refused(value, f"it has no value for its field {name!r}")
        walk = check_fields(self._checks, self._checks.values(), self._get(value))
        return walk if self._extra is None else self._check_extra(value) or walk

    def _check_extra(self, value: Any) -> bool:
        extra = value.__pydantic_extra__ or {}
        return check_fields(extra, repeat(self._extra or Always()), extra.values())

    def passes(self, values: Collection[Any]) -> bool:
        if self._extra is not None or not {self._cls}.issuperset(map(type, values)):
            return super().passes(values)
        try:
            columns = zip(*self._rows(values), strict=True)
            return all(check.passes(column) for check, column in zip(self._checks.values(), columns, strict=False))
        except (AttributeError, KeyError):
            return False


class Keys(Check):
    """Checks a dict whose keys are declared one by one.

    Args:
        checks: The check of each key's value.
        required: The keys that must be there.
        otherwise: Checks anything else.
    """

    __slots__ = ("_checks", "_otherwise", "_required")

    def __init__(self, checks: Mapping[str, Check], required: AbstractSet[str], otherwise: Check) -> None:
        self._checks = checks
        self._required = required
        self._otherwise = otherwise

    def __call__(self, value: Any) -> bool:
        if value.__class__ is not dict or not self._required <= value.keys() <= self._checks.keys():
            return self._otherwise(value)
        return check_fields(value, [self._checks[name] for name in value], value.values())


def check_items(check: Check, items: Collection[Any], place: str) -> bool:
    """Check the items of a container, each of which is at ``place.format(index)``. Return and raise as a check."""
    if check.passes(items):
        return False
    walk = False
    for index, item in enumerate(items):
        try:
            if check(item):
                walk = True
        except Refused as refused:
            refused.path.append(place.format(index))
            raise
    return walk


def check_fields(names: Iterable[str], checks: Iterable[Check], parts: Iterable[Any]) -> bool:
    """Check fields by their names, checks and values. Return and raise as a check."""
    walk = False
    for name, check, part in zip(names, checks, parts, strict=False):
        try:
            if check(part):
                walk = True
        except Refused as refused:
            refused.path.append(f".{name}")
            raise
    return walk


_dict_of: Final = attrgetter("__dict__")


def _getter(names: Collection[str], kind: Any = attrgetter) -> Callable[[Any], tuple[Any, ...]]:
    """Return what takes the attributes, or items, of these names out of an object; of one name, twice."""
    if not names:
        return lambda _: ()
    get: Callable[[Any], tuple[Any, ...]] = kind(*names) if len(names) > 1 else kind(*names, *names)
    return get
