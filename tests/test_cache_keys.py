"""The keys and tags that the decorator of ``Cache`` makes of arguments."""

from __future__ import annotations

import enum
import inspect
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinhardt_backends import Cache, MemoryBackend, SyncBackend, SyncCache
from reinhardt_backends._cache._key_template import KeyTemplate

from .caching import User, decorated
from .extent import examples
from .places import Place, everywhere

ID = UUID("12345678-1234-5678-1234-567812345678")


class Color(str, enum.Enum):  # noqa: UP042 - its str() is not its text
    RED = "red/1"


class Level(enum.IntEnum):
    HIGH = 3


SPELLINGS: list[tuple[Any, str]] = [
    ("home", "home"),
    ("", ""),
    ("a-b_c.d~e", "a-b_c.d~e"),
    ("home/ada", "home%2Fada"),
    ("https://x.org/?q=1&r=%20", "https%3A%2F%2Fx.org%2F%3Fq%3D1%26r%3D%2520"),
    ("Zoë 日本", "Zo%C3%AB%20%E6%97%A5%E6%9C%AC"),
    ("'", "%27"),
    ("\x00\n", "%00%0A"),
    (42, "42"),
    (-7, "-7"),
    (0, "0"),
    (True, "True"),
    (False, "False"),
    (None, "None"),
    (ID, str(ID)),
    (date(2026, 1, 2), "2026-01-02"),
    ("42", "'42"),
    ("-7", "'-7"),
    ("0", "'0"),
    ("007", "007"),
    ("True", "'True"),
    ("False", "'False"),
    ("None", "'None"),
    ("true", "true"),
    (str(ID), f"'{ID}"),
    ("2026-01-02", "'2026-01-02"),
    ("1.5", "1.5"),
    (Color.RED, "red%2F1"),
    (Level.HIGH, "3"),
]


@pytest.mark.parametrize(("argument", "text"), SPELLINGS)
def test_how_an_argument_is_spelled(argument: Any, text: str) -> None:
    """On every way to call: positional or by name, alone or beside others."""
    cache = SyncCache(MemoryBackend(), ttl=60)

    @cache.cached(key="page:{slug}")
    def one(slug: Any) -> int:
        return 1

    @cache.cached(key="pair:{a}:{b}")
    def two(a: Any, b: Any = "b") -> int:
        return 1

    assert one.key(argument) == one.key(slug=argument) == f"page:{text}"
    assert two.key(argument) == two.key(argument, "b") == two.key(b="b", a=argument) == f"pair:{text}:b"


@everywhere("memory", "redis")
async def test_an_address_as_an_argument(place: Place) -> None:
    """Its key is known, so its value can be invalidated."""
    cache = place.make(Cache, ttl=60)
    calls: list[str] = []

    def load(url: str) -> int:
        calls.append(url)
        return len(calls)

    page = decorated(place, cache, load, key="page:{url}", tags=["site:{url}"])
    url = "https://example.org/a?b=c"
    assert [await page(url), await page(url)] == [1, 1]
    await page.invalidate(url)
    assert await page(url) == 2
    await cache.invalidate(page.key(url))
    assert await page(url) == 3
    await cache.invalidate(f"page:{url}")  # Another key, literally.
    assert await page(url) == 3
    await cache.invalidate_tag(f"site:{url}")
    assert await page(url) == 4


REFUSED = [1.5, Decimal(1), b"b", [1], (1,), {"a": 1}, {1}, User(id=1), object(), datetime(2026, 1, 2, tzinfo=UTC), int]


def test_arguments_without_a_spelling_are_refused() -> None:
    """At the first call, before anything is computed or stored; the message does not show it."""
    backend = MemoryBackend()
    cache = SyncCache(backend, ttl=60)

    @cache.cached(key="one:{a}")
    def one(a: Any) -> int:
        raise AssertionError

    @cache.cached(key="two:{a}:{b}")
    def two(a: Any, b: Any) -> int:
        raise AssertionError

    @cache.cached(key="any:{args}:{kwargs}")
    def variadic(*args: Any, **kwargs: Any) -> int:
        raise AssertionError

    for argument in REFUSED:
        for call in (lambda a=argument: one(a), lambda a=argument: two(1, a), lambda a=argument: one.key(a)):
            with pytest.raises(TypeError, match=r"cannot be of type .*name an attribute of it, as in .*convert it"):
                call()
    with pytest.raises(TypeError, match="cannot be of type tuple"):
        variadic(1)
    assert list(SyncBackend(backend).scan()) == []


def test_an_object_is_refused_and_its_attributes_are_not() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)

    class Repository:
        def __init__(self, name: str) -> None:
            self.name = name

        @cache.cached(key="{self}:{n}")
        def whole(self, n: int) -> str:
            return self.name

        @cache.cached(key="named:{self.name}:{n}")
        def named(self, n: int) -> str:
            return self.name

        @cache.cached(key="same:{n}")
        def same(self, n: int) -> str:
            return self.name

    one, other = Repository("a/b"), Repository("c")
    with pytest.raises(TypeError, match=r"\{self\} of a key cannot be of type .*Repository.*\{self.id\}"):
        one.whole(1)
    assert [one.named(1), other.named(1), one.named(1)] == ["a/b", "c", "a/b"]
    assert [one.same(1), other.same(1)] == ["a/b", "a/b"]
    assert (one.named.key(1), Repository.named.key(one, 1)) == ("named:a%2Fb:1", "named:a%2Fb:1")


def test_conversions_and_formats_are_text() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)

    @cache.cached(key="{price!s}|{day:%Y/%m}|{user.id}|{user!r}|{n:04}")
    def get(price: Any, day: Any, user: Any, n: Any) -> int:
        return 1

    key = get.key(1.5, datetime(2026, 1, 2, tzinfo=UTC), User(id=5), 7)
    assert key == "1.5|2026%2F01|5|User%28id%3D5%2C%20born%3DNone%29|0007"


@everywhere("memory", "redis")
async def test_functions_are_not_confused(place: Place) -> None:
    """An argument does not reach what is kept for another function, whose template goes on where its own ends."""
    cache = place.make(Cache, ttl=60)
    page = decorated(place, cache, lambda slug: f"page {slug}", key="page:{slug}", type=str)
    private = decorated(place, cache, lambda slug, user: f"of {user}", key="page:{slug}/{user}", type=str)
    posts = decorated(place, cache, lambda slug: f"posts of {slug}", key="page:{slug}:posts", type=str)
    for _ in range(2):
        assert await private("home", "ada") == "of ada"
        assert await posts("home") == "posts of home"
        assert await page("home/ada") == "page home/ada"
        assert await page("home:posts") == "page home:posts"


def test_two_functions_may_not_have_one_template() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)

    def make(template: str) -> Any:
        @cache.cached(key=template)
        def load(a: int, b: int = 0) -> int:
            return a

        return load

    make("user:{a}")
    for template in ("user:{a}", "user:{b}", "user:{a!s}", "user:{a}{__shared__}"):
        with pytest.raises(ValueError, match=r"would share their values.*\{__shared__\}"):
            make(template)
    shared = [make("shared:{a}{__shared__}"), make("{__shared__}shared:{a}")]
    assert [one.key(5) for one in shared] == ["shared:5"] * 2
    with pytest.raises(ValueError, match="would share"):
        make("shared:{a}")
    assert [one(5) for one in shared] == [5, 5]
    # Another cache has keys of its own, and a template that was refused stays free.
    SyncCache(MemoryBackend(), ttl=60).cached(key="user:{a}")(lambda a: a)
    with pytest.raises(TypeError):
        cache.cached(key="free:{a}", type=5)(lambda a: a)
    cache.cached(key="free:{a}")(lambda a: a)
    with pytest.raises(ValueError, match="no parameter"):
        cache.cached(key="other:{a}", tags=["{__shared__}x{no}"])(lambda a: a)


def test_a_module_may_be_loaded_again() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)
    source = "@cache.cached(key='user:{a}')\ndef load(a: int) -> int:\n    return a\n"
    names = {"cache": cache, "__name__": "module"}
    for _ in range(2):
        exec(source, names)
    with pytest.raises(ValueError, match=r"the key of other is that of load"):
        exec(source.replace("load", "other"), names)


@everywhere("memory", "redis", "six")
async def test_tags_are_plain_labels(place: Place) -> None:
    """Formatted as ``str.format`` does, with any arguments."""
    cache = place.make(Cache, ttl=60)
    calls: list[Any] = []

    def count(site: Any, page: str) -> int:
        calls.append(site)
        return len(calls)

    get = decorated(
        place, cache, count, key="{site.id}:{page}", tags=["site:{site.id}:{page}", "{site!r:>10}", "all"], type=int
    )
    user, url = User(id=1), "https://x.org/%20'"
    for expected, tag in enumerate((f"site:1:{url}", f"{user!r:>10}", "all"), 1):
        assert [await get(user, url), await get(user, url)] == [expected] * 2
        await cache.invalidate_tag(tag)
    assert await get(user, url) == 4


def test_methods_of_every_kind_name_their_keys() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)
    calls: list[str] = []

    class Base:
        kind = "base"

        @cache.cached(key="outer:{cls.kind}:{n}")
        @classmethod
        def outer(cls, n: int) -> str:
            calls.append("outer")
            return cls.kind

        @classmethod
        @cache.cached(key="inner:{cls.kind}:{n}")
        def inner(cls, n: int) -> str:
            calls.append("inner")
            return cls.kind

        @cache.cached(key="static outer:{n}")
        @staticmethod
        def static_outer(n: int) -> str:
            calls.append("static outer")
            return "static"

        @staticmethod
        @cache.cached(key="static inner:{n}")
        def static_inner(n: int) -> str:
            calls.append("static inner")
            return "static"

        @cache.cached(key="method:{self.kind}:{n}")
        def method(self, n: int) -> str:
            """Say what kind it is."""
            calls.append("method")
            return self.kind

    class Derived(Base):
        kind = "derived"

    for owner, kind in ((Base, "base"), (Derived, "derived"), (Derived(), "derived")):
        assert owner.outer.key(1) == f"outer:{kind}:1"
        assert owner.outer(1) == kind
        assert owner.inner(1) == kind
        assert owner.static_outer.key(1) == "static outer:1"
        assert owner.static_inner.key(1) == "static inner:1"
        assert [owner.static_outer(1), owner.static_inner(n=1)] == ["static", "static"]
    assert calls == ["outer", "inner", "static outer", "static inner", "outer", "inner"]
    Derived.outer.invalidate(1)
    Base.static_outer.invalidate(n=1)
    assert [Base.outer(1), Derived.outer(1), Base.static_outer(1)] == ["base", "derived", "static"]
    assert calls[6:] == ["outer", "static outer"]
    one = Derived()
    assert (one.method.key(1), one.method(1), one.method(n=1)) == ("method:derived:1", "derived", "derived")
    one.method.invalidate(1)
    assert one.method(1) == "derived"
    assert calls[8:] == ["method", "method"]
    assert (one.method.__name__, one.method.__doc__, one.method.__self__) == ("method", "Say what kind it is.", one)


def test_a_class_method_that_is_decorated_inside_names_its_key() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)

    class Base:
        kind = "base"

        @classmethod
        @cache.cached(key="get:{n}")
        def get(cls, n: int) -> str:
            return cls.kind

        @classmethod
        @cache.cached(key="{cls.kind}:{n}")
        def of_a_class(cls, n: int) -> str:
            return cls.kind

    class Derived(Base):
        kind = "derived"

    for owner in (Base, Base(), Derived):
        assert owner.get(1) == "base"
        assert owner.get.key(1) == owner.get.key(n=1) == "get:1"
    Base.get.invalidate(1)
    assert Derived.get(1) == "derived"
    assert (Base.of_a_class(1), Derived.of_a_class(1)) == ("base", "derived")
    if sys.version_info < (3, 13):
        assert Derived.of_a_class.key(1) == "derived:1"
        assert Base.get.refresh(1) == "base"
    else:
        # There the function inside a class method does not learn its class.
        for call in (Derived.of_a_class.key, Base.get.refresh):
            with pytest.raises(TypeError, match="here the class is not known"):
                call(1)


NAMES = st.sampled_from(["a", "b", "c"])
LITERALS = st.text(st.sampled_from(":/-xa%é 1B'"), min_size=1, max_size=3).filter(
    lambda text: set(text) - set("0123456789ABCDEF%'")
)
TEXTS = st.text(st.sampled_from(":/-xab%é 1'2BD"), max_size=5)
ARGUMENTS = TEXTS | st.integers() | st.booleans() | st.none() | st.uuids() | st.dates()
LOOKALIKES = (st.integers() | st.booleans() | st.none() | st.uuids() | st.dates()).map(str)


@examples(200)
@given(
    st.lists(st.tuples(LITERALS, NAMES), max_size=4),
    LITERALS | st.just(""),
    st.lists(ARGUMENTS | LOOKALIKES, min_size=6, max_size=6),
)
def test_other_arguments_have_another_key(parts: list[tuple[str, str]], end: str, arguments: list[Any]) -> None:
    """For any template: two calls have one key if and only if its fields have the same arguments, of the same type."""

    def function(a: Any, b: Any, c: Any) -> None: ...

    template = KeyTemplate(
        "".join(f"{literal}{{{name}}}" for literal, name in parts) + end, inspect.signature(function)
    )
    one, other = tuple(arguments[:3]), tuple(arguments[3:])
    fields = ["abc".index(name) for _, name in parts]
    same = [(type(one[at]), one[at]) for at in fields] == [(type(other[at]), other[at]) for at in fields]
    assert (template.key(one, {}) == template.key(other, {})) is same
    assert template.key(one, {}) == template.key((), dict(zip("abc", one, strict=True)))


@given(st.text())
def test_a_key_of_text_is_what_unquote_undoes(text: str) -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)
    key = cache.cached(key="{a}", type=int)(lambda a: 1).key(text)
    assert unquote(key.removeprefix("'")) == text


def test_fields_need_something_between_them() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)
    for template in ("{a}{b}", "{a}1{b}", "{a}%{b}", "{a}'{b}", "{a}AF0{b}"):
        with pytest.raises(ValueError, match="something between the fields"):
            cache.cached(key=template)(lambda a, b: 1)
    assert cache.cached(key="{a}-{b}")(lambda a, b: 1).key("x-y", -5) == "x%2Dy-%2D5"
