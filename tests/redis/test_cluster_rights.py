"""The access rights in the guides are those that a user of a cluster needs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

pytest.importorskip("redis")

from reinhardt_backends import RedisBackend, ResponseError

from ..snippets import ROOT
from ..topologies import Cluster
from .test_cluster import prefix
from .test_documented_rights import every_component, every_verb, rule_for_a_user

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("cluster")]

GUIDE: Final = (ROOT / "docs" / "guides" / "cluster.md").read_text(encoding="utf-8")
RIGHTS: Final = re.findall(r"`(\+[\w|]+)`", GUIDE.split("### Rights")[1].split("\n## ")[0])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def user(cluster: Cluster) -> Any:
    """A function that sets the rights of a user beside those that one server needs, and returns a backend of it."""

    def backend_with(rights: list[str]) -> RedisBackend:
        for node in cluster.servers:
            node.ask(*rule_for_a_user(), *rights)
        return RedisBackend(cluster.url, username="shop", password="password", prefix=f"shop:{prefix()}", timeout=2)

    yield backend_with
    for node in cluster.servers:
        node.ask("ACL", "DELUSER", "shop")


async def _read(backend: RedisBackend, _: Cluster) -> None:
    await backend.get("k")


async def _scan(backend: RedisBackend, _: Cluster) -> None:
    assert [key async for key in backend.scan()] == []


async def _read_from_a_migrating_slot(backend: RedisBackend, cluster: Cluster) -> None:
    slot = cluster.slot(backend._prefix + "k")
    source = cluster.owner(slot)
    taker = next(one for one in cluster.primaries() if one is not source)
    cluster.begin_move(slot, taker)
    try:
        # The key is missing, so that the answer is ASK.
        assert await backend.get("k") is None
    finally:
        cluster.end_move(slot, taker)


NEEDED_BY: Final[dict[str, Callable[[RedisBackend, Cluster], Awaitable[None]]]] = {
    "+cluster|slots": _read,
    "+cluster|nodes": _scan,
    "+asking": _read_from_a_migrating_slot,
}


async def test_the_documented_rights_are_enough(cluster: Cluster, user: Any) -> None:
    assert sorted(RIGHTS) == sorted(NEEDED_BY)
    async with user(RIGHTS) as backend:
        await every_verb(backend)
        await every_component(backend)
        for use in NEEDED_BY.values():
            await backend.clear()
            await use(backend, cluster)


async def test_each_documented_right_is_needed(cluster: Cluster, user: Any) -> None:
    for right, use in NEEDED_BY.items():
        async with user([one for one in RIGHTS if one != right]) as backend:
            with pytest.raises(ResponseError, match="NOPERM"):
                await use(backend, cluster)
