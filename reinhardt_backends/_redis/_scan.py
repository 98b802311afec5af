"""The names on a server that begin with a prefix, a page of them at a time: what ``scan`` and ``clear`` go through."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final, cast

from .._backend import PagedKeys
from ._commands import NUMBER, PAGE, Kind, Reply

if TYPE_CHECKING:
    from ._client import Client

SCANNED: Final = 2500
"""How many keys the server looks at for one page of a scan. It serves no other client meanwhile, about 0.5 ms."""

_GLOB: Final = re.compile(rb"[*?\[\]\\]")


class Pages:
    """The names on the server that begin with a prefix, a page of them at a time."""

    def __init__(self, client: Client, prefix: bytes) -> None:
        self._client = client
        self._prefix = prefix
        self._pattern = _GLOB.sub(rb"\\\g<0>", prefix) + b"*"
        self._cursor: bytes | None = b"0"

    async def next(self) -> list[bytes]:
        """Return the next page; an empty one at the end."""
        names: list[bytes] = []
        while not names and self._cursor is not None:
            names = self._turn(await self._client.call(Kind.READ, *self._words(), expects=PAGE))
        return names

    async def unlink(self, names: list[bytes]) -> list[bytes]:
        """Remove a page of names and return the next page, in one round trip if that has names."""
        if self._cursor is None:
            await self._client.call(Kind.IDEMPOTENT, b"UNLINK", *names, expects=NUMBER)
            return []
        commands: list[tuple[bytes, ...]] = [(b"UNLINK", *names), self._words()]
        replies = await self._client.call_many(Kind.IDEMPOTENT, commands, expects=_UNLINKED)
        return self._turn(replies[1]) or await self.next()

    def _words(self) -> tuple[bytes, ...]:
        return (b"SCAN", self._cursor or b"0", b"MATCH", self._pattern, b"COUNT", b"%d" % SCANNED)

    def _turn(self, page: list[Any]) -> list[bytes]:
        cursor, names = page
        self._cursor = None if cursor == b"0" else cursor
        return (
            cast("list[bytes]", names)
            if _begin_with(names, self._prefix)
            else [name for name in names if name.startswith(self._prefix)]
        )


#: What UNLINK and SCAN are answered with.
_UNLINKED: Final = Reply(int, items=(bytes, list), lengths=(0, 2))


class ScannedKeys(PagedKeys):
    """The keys of a scan. Names that are not text are foreign ones."""

    def __init__(self, client: Client, own: str, prefix: str) -> None:
        super().__init__()
        self._pages = client.pages((own + prefix).encode())
        self._own = own

    async def next_page(self) -> list[str]:
        while names := await self._pages.next():
            keys = _texts(names, self._own)
            if keys:
                return keys
        return []


def _begin_with(names: list[bytes], prefix: bytes) -> bool:
    """Return whether all names surely begin with a prefix, as the server was told. Faster than asking each."""
    whole = b"\n" + b"\n".join(names)
    return whole.count(b"\n") == whole.count(b"\n" + prefix) == len(names)


def _texts(names: list[bytes], prefix: str) -> list[str]:
    """Return the names that are text, without the prefix that all of them have."""
    try:
        text = b"\n".join(names).decode()
    except UnicodeDecodeError:
        text = ""
    # All at once, unless a name has a line break or is not text.
    if text and text.count("\n") == len(names) - 1:
        return text[len(prefix) :].split("\n" + prefix)
    texts = []
    for name in names:
        with contextlib.suppress(UnicodeDecodeError):
            texts.append(name.decode()[len(prefix) :])
    return texts
