"""The names on a server that begin with a prefix, a page of them at a time: what ``scan`` and ``clear`` go through."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final, cast

from .._backend import PagedKeys
from ._commands import NUMBER, PAGE, Kind, Reply

if TYPE_CHECKING:
    from ._ahead import Ahead
    from ._client import Client
    from ._connections import Node

SCANNED: Final = 2500
"""How many keys the server looks at for one page. It serves no other client meanwhile, for 0.5 to 1 ms."""

SCANNED_LATER: Final = 2 * SCANNED
"""The same for the pages of a long scan, where the round trips add up."""

_GLOB: Final = re.compile(rb"[*?\[\]\\]")


class Pages:
    """The names on the server that begin with a prefix, a page of them at a time."""

    def __init__(self, client: Client, prefix: bytes) -> None:
        self._client = client
        self._prefix = prefix
        self._pattern = _GLOB.sub(rb"\\\g<0>", prefix) + b"*"
        self._cursor: bytes | None = b"0"
        #: How many pages have come, and the next one, if it was asked for already.
        self._turns = 0
        self._count = SCANNED
        self._asked: list[tuple[bytes, Ahead]] = []

    async def next(self) -> list[bytes]:
        """Return the next page as the server gave it; an empty one at the end."""
        names: list[bytes] = []
        while not names and self._cursor is not None:
            page = await self._page_asked_for()
            if page is None:
                page = await self._client.call(Kind.READ, *self._words(), expects=PAGE)
            names = self._turn(page)
        return names

    def ask(self) -> None:
        """Ask for the next page, so that the server works while the caller deals with the last one."""
        # Many a scan is left in its first page.
        if self._cursor is not None and self._turns > 1 and not self._asked:
            self._count = SCANNED_LATER
            node = self._node()
            ahead = None if node is None else self._client.send_ahead(node, self._words())
            if ahead is not None:
                self._asked.append((self._cursor, ahead))

    def forget(self) -> None:
        """Do without the page that was asked for."""
        with contextlib.suppress(IndexError):
            self._asked.pop()[1].end()

    def _node(self) -> Node | None:
        """Return the server that has the next page."""
        return self._client.server

    async def _page_asked_for(self) -> Any:
        # Taken in one step, in case that two threads share the scan.
        try:
            cursor, ahead = self._asked.pop()
        except IndexError:
            return None
        page = await ahead.reply(PAGE)
        return page if cursor == self._cursor else None

    async def unlink(self, names: list[bytes]) -> list[bytes]:
        """Remove a page of names and return the next page, in one round trip if that has names."""
        names = self._own(names)
        if not names:
            return await self.next()
        if self._cursor is None:
            await self._client.call(Kind.IDEMPOTENT, b"UNLINK", *names, expects=NUMBER)
            return []
        commands: list[tuple[bytes, ...]] = [(b"UNLINK", *names), self._words()]
        replies = await self._client.call_many(Kind.IDEMPOTENT, commands, expects=_UNLINKED)
        return self._turn(replies[1]) or await self.next()

    def _words(self) -> tuple[bytes, ...]:
        return (b"SCAN", self._cursor or b"0", b"MATCH", self._pattern, b"COUNT", b"%d" % self._count)

    def _turn(self, page: list[Any]) -> list[bytes]:
        cursor, names = page
        self._turns += 1
        self._cursor = None if cursor == b"0" else cursor
        return cast("list[bytes]", names)

    def _own(self, names: list[bytes]) -> list[bytes]:
        """Return the names that begin with the prefix, as all should that the server has sent."""
        prefix = self._prefix
        whole = b"\n" + b"\n".join(names)
        # All at once, which is faster, unless a name has a line break.
        if whole.count(b"\n") == whole.count(b"\n" + prefix) == len(names):
            return names
        return [name for name in names if name.startswith(prefix)]


#: What UNLINK and SCAN are answered with.
_UNLINKED: Final = Reply(int, items=(bytes, list), lengths=(0, 2))


class ScannedKeys(PagedKeys):
    """The keys of a scan. Names that are not text are foreign ones."""

    def __init__(self, client: Client, own: str, prefix: str) -> None:
        super().__init__()
        self._pages = client.pages((own + prefix).encode())
        self._own = own
        self._prefix = own + prefix

    async def next_page(self) -> list[str]:
        while names := await self._pages.next():
            self._pages.ask()
            keys = _texts(names, self._prefix, self._own)
            if keys:
                return keys
        return []

    async def aclose(self) -> None:
        await super().aclose()
        self._pages.forget()

    def leave_out(self, prefix: str) -> None:
        self._own += prefix


def _texts(names: list[bytes], prefix: str, own: str) -> list[str]:
    """Return the names that are text and begin with ``prefix``, without ``own``, which ``prefix`` begins with."""
    try:
        text = b"\n".join(names).decode()
    except UnicodeDecodeError:
        text = ""
    # All at once, which is faster, unless a name is not text, begins otherwise, or has a line break.
    breaks = len(names) - 1
    if text.startswith(prefix) and text.count("\n") == breaks:
        keys = text[len(own) :].split("\n" + own)
        if len(keys) == len(names) and (prefix == own or text.count("\n" + prefix) == breaks):
            return keys
    keys = []
    for name in names:
        with contextlib.suppress(UnicodeDecodeError):
            text = name.decode()
            if text.startswith(prefix):
                keys.append(text[len(own) :])
    return keys
