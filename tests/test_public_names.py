"""Public names: where they say that they come from, what can be pickled, and what authors of backends get."""

from __future__ import annotations

import importlib.metadata
import pickle
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

import reinhardt_backends
from reinhardt_backends import (
    KEEP_TTL,
    MemoryBackend,
    SessionInfo,
    SessionStore,
    SyncThrottle,
    Throttle,
    asgi,
    authoring,
    testing,
)

ROOT = Path(__file__).parent.parent
NAMES = reinhardt_backends.__all__
CLASSES = [name for name in NAMES if isinstance(getattr(reinhardt_backends, name), type)]


class Cart(BaseModel):
    items: list[str]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in authoring.__all__])
def test_a_public_name_comes_from_where_it_is_imported(name: str) -> None:
    value = getattr(reinhardt_backends, name)
    if isinstance(value, type | FunctionType):
        assert (value.__module__, value.__qualname__) == ("reinhardt_backends", name)


@pytest.mark.parametrize("module", [asgi, testing])
def test_a_class_of_a_public_module_comes_from_there(module: ModuleType) -> None:
    classes = [value for name in module.__all__ if isinstance(value := getattr(module, name), type)]
    assert {value.__module__ for value in classes} == {module.__name__}


@pytest.mark.parametrize("name", authoring.__all__)
def test_what_authors_need_comes_from_authoring(name: str) -> None:
    value = getattr(authoring, name)
    if isinstance(value, FunctionType):
        assert value.__module__ == "reinhardt_backends.authoring"
        assert value.__doc__
    assert getattr(reinhardt_backends, name, value) is value


def test_the_helpers_of_authors_are_importable_from_the_package_too() -> None:
    helpers = {"check_count", "check_key", "check_keys", "check_ttl", "check_type", "decode", "encode"}
    assert helpers <= set(NAMES) & set(authoring.__all__)


def test_authors_can_check_what_every_verb_takes() -> None:
    assert authoring.check_prefix("user:") == "user:"
    assert authoring.check_mapping({"a": 1, "b": 2}) == [("a", 1), ("b", 2)]
    assert authoring.check_new_ttl(KEEP_TTL) is KEEP_TTL
    assert authoring.check_new_ttl(1.5) == 1500
    for check, bad in (
        (authoring.check_prefix, 1),
        (authoring.check_mapping, ["a"]),
        (authoring.check_mapping, {1: 2}),
        (authoring.check_new_ttl, "1"),
        (authoring.check_seconds, True),
    ):
        with pytest.raises(TypeError):
            check(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_is_pickled_by_its_public_name(name: str) -> None:
    cls = getattr(reinhardt_backends, name)
    pickled = pickle.dumps(cls, protocol=0)
    assert pickled.startswith(b"creinhardt_backends\n")
    assert pickle.loads(pickled) is cls


def test_results_are_pickled_by_public_names_even_where_their_class_was_never_named() -> None:
    script = (
        "import asyncio, pickle, sys; from reinhardt_backends import MemoryBackend, Throttle; "
        "result = asyncio.run(Throttle(MemoryBackend(), '1/s').hit('k')); "
        "sys.stdout.buffer.write(pickle.dumps(result))"
    )
    pickled = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, cwd=ROOT).stdout
    assert b"reinhardt_backends._" not in pickled
    expected = SyncThrottle(MemoryBackend(), "1/s").hit("k")
    assert pickle.loads(pickled).quotas == expected.quotas


@pytest.mark.parametrize("name", CLASSES)
def test_annotations_can_be_resolved(name: str) -> None:
    typing.get_type_hints(getattr(reinhardt_backends, name))


@pytest.mark.anyio
async def test_pydantic_understands_the_results() -> None:
    class Report(BaseModel):
        result: reinhardt_backends.ThrottleResult
        rate: reinhardt_backends.Rate
        session: SessionInfo[Cart]

    backend = MemoryBackend()
    result = await Throttle(backend, "1/s").hit("k")
    store = SessionStore(backend, Cart, ttl=60)
    await store.create(Cart(items=["tea"]), user="ada")
    (session,) = await store.sessions_of("ada")
    report = Report(result=result, rate=result.quotas[0].rate, session=session)
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert TypeAdapter(SessionInfo[Cart]).json_schema()["title"]


def test_the_version_is_the_one_that_is_installed() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert reinhardt_backends.__version__ == project["version"] == importlib.metadata.version("reinhardt-backends")


def test_what_signatures_name_is_exported() -> None:
    for name in (
        "Algorithm",
        "CacheErrorPolicy",
        "ThrottleErrorPolicy",
        "EvictionPolicy",
        "Runtime",
        "TTL",
        "JSONValue",
        "KeepTTL",
    ):
        assert name in NAMES
    assert typing.get_args(reinhardt_backends.EvictionPolicy) == ("lru", "lfu", "fifo")
    assert typing.get_args(reinhardt_backends.Runtime) == ("asyncio", "trio")
