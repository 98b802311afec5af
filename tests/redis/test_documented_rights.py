"""The access rights in the deployment guide are enough for every verb and every component."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reinhardt_backends import (
    Cache,
    Lock,
    RedisBackend,
    ResponseError,
    SessionStore,
    SyncBackend,
    Throttle,
)

from ..servers import Server
from ..snippets import ROOT

GUIDE = (ROOT / "docs" / "guides" / "deployment.md").read_text(encoding="utf-8")


def rule_for_a_user() -> list[str]:
    """The words of the command in the guide that gives a user its rights."""
    rule = re.search(r"^ACL SETUSER shop .*?(?=^```)", GUIDE, re.MULTILINE | re.DOTALL)
    assert rule
    return rule[0].split()


@pytest.mark.anyio
async def test_the_documented_rights_are_enough_and_do_not_reach_other_keys(own_server: Server) -> None:
    own_server.command(*rule_for_a_user())
    url = own_server.url.replace("redis://", "redis://shop:password@").removesuffix("/0") + "/0"
    backend = RedisBackend(url, prefix="shop:", client_name="shop")

    await every_verb(backend)
    await every_component(backend)
    with SyncBackend(backend) as face:
        assert face.increment("blocking", 60) == 1

    with pytest.raises(ResponseError, match="NOPERM"):
        await RedisBackend(url, prefix="other:").set("k", 1)


async def every_verb(backend: RedisBackend) -> None:
    await backend.ping()
    await backend.set("k", "v", 60)
    assert await backend.get("k", str, renew=60) == "v"
    assert await backend.exists("k")
    assert await backend.increment("n", 60) == 1
    assert await backend.increment("m") == 1
    assert await backend.add("a", 1, 60)
    assert await backend.replace("a", 2)
    assert await backend.compare_and_set("a", 2, 3)
    assert await backend.compare_and_delete("a", 3)
    assert await backend.touch("k", None)
    assert await backend.touch("k", 60)
    assert await backend.ttl("k") is not None
    await backend.set_many({"x": 1, "y": 2})
    await backend.set_many({"x": 1, "y": 2}, 60)
    assert await backend.get_many(["x", "y"], int) == {"x": 1, "y": 2}
    assert await backend.delete_many(["x"]) == 1
    assert await backend.pop("y") == 2
    await backend.set("z", 2)
    assert await backend.pop("z", int) == 2
    assert await backend.delete("k")
    assert {key async for key in backend.scan()} == {"n", "m"}
    await backend.clear()


async def every_component(backend: RedisBackend) -> None:
    for algorithm in ("fixed-window", "sliding-window", "gcra"):
        algorithm_: Any = algorithm
        assert await Throttle(backend, "5/min", algorithm=algorithm_).allow("ada")
    assert await Cache(backend, ttl=60).get_or_set("k", _one, int, tags=["t"]) == 1
    sessions = SessionStore(backend, dict[str, Any], ttl=60)
    session = await sessions.create({})
    session.user = "ada"
    await sessions.rotate(session)
    await sessions.revoke_user("ada")
    async with Lock(backend, "job", ttl=10) as lock:
        assert await lock.extend()


async def _one() -> int:
    return 1
