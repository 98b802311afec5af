"""Many callers at once, of one backend."""

from __future__ import annotations

from itertools import count

from .._backend import Backend
from ._runner import ConformanceRunner, promise


class Sharing(ConformanceRunner):
    """Section 5 of the contract: tasks, or threads over the blocking face."""

    @promise()
    async def test_increments_at_once(self, store: Backend) -> None:
        """No increment is lost, and no two return the same."""
        results = await self.at_once(20, lambda: store.increment("k", 1000))
        assert sorted(results) == list(range(1, 21))

    @promise("add")
    async def test_adds_at_once(self, store: Backend) -> None:
        """Of many that add one key at once, one wins."""
        assert sum(await self.at_once(20, lambda: store.add("k", 1, 1000))) == 1

    @promise("pop")
    async def test_pops_at_once(self, store: Backend) -> None:
        """No two that pop one key at once get its value, with a type or without."""
        plain: list[object] = []
        await store.set("k", 7)
        plain += await self.at_once(20, lambda: store.pop("k"))
        await store.set("k", 7)
        typed = await self.at_once(20, lambda: store.pop("k", int))
        for popped in (plain, typed):
            assert sorted(popped, key=str) == [7, *[None] * 19]

    @promise()
    async def test_deletes_at_once(self, store: Backend) -> None:
        """Of many that delete one key at once, one has removed it."""
        await store.set("k", 7)
        assert sum(await self.at_once(20, lambda: store.delete("k"))) == 1

    @promise("compare_and_set")
    async def test_optimistic_writers_at_once(self, store: Backend) -> None:
        """Writers that read, compute and compare_and_set in a loop lose no update."""
        await store.set("k", [0])

        async def add_one() -> None:
            while True:
                seen = await store.get("k", list[int])
                if await store.compare_and_set("k", seen, [(seen or [0])[0] + 1]):
                    return

        await self.at_once(10, add_one)
        assert await store.get("k") == [10]

    @promise("compare_and_delete")
    async def test_unlocking_at_once(self, store: Backend) -> None:
        """Of many that compare_and_delete one token at once, one has removed it."""
        await store.set("k", "token")
        assert sum(await self.at_once(20, lambda: store.compare_and_delete("k", "token"))) == 1

    @promise()
    async def test_values_stay_apart(self, store: Backend) -> None:
        """Every caller gets the answer to its own question."""
        numbers = count()

        async def ask() -> None:
            number = next(numbers)
            value = f"{number}" * (1 + number * 50)
            await store.set(f"k{number}", value)
            assert await store.get(f"k{number}", str) == value
            assert await store.get_many([f"k{number}", "missing"]) == {f"k{number}": value}

        await self.at_once(25, ask)
