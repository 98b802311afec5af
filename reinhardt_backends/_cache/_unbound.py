"""What a cache has in the place of a backend until it is bound to one."""

from __future__ import annotations

from typing import Any, NoReturn

from .._backend import Backend, typed_as
from .._types import TTL, KeepTTL


class Unbound(Backend):
    """A backend whose verbs raise an error that says what is missing."""

    never_suspends = True

    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        self._refuse()

    @typed_as(Backend.get)
    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        self._refuse()

    async def delete(self, key: str) -> bool:
        self._refuse()

    async def exists(self, key: str) -> bool:
        self._refuse()

    async def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        self._refuse()

    async def clear(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RuntimeError("this cache has no backend yet: call its bind(backend) when the program starts")


UNBOUND = Unbound()
