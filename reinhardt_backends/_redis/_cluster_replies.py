"""What the nodes of a cluster say about slots: the map, redirections, and the state of one node.

Where a node does not know its own address, or is told not to announce it, the host is empty, ``?`` or null. It is then
the host that was asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from .._backend._slots import SLOTS
from ._addresses import Address
from ._protocol import Refusal

_REDIRECTION: Final = re.compile(r"(MOVED|ASK) (\d{1,5}) (\S*):(\d{1,5})\s*")
_UNKNOWN_HOSTS: Final = frozenset({"", "?"})


class Redirection(NamedTuple):
    """The answer of a node that does not serve a key.

    Attributes:
        asking: Whether it concerns this command only (``ASK``), or the slot (``MOVED``).
        slot: The slot.
        host: The host of the node that does; ``None`` is the one that was asked.
        port: Its port.
    """

    asking: bool
    slot: int
    host: str | None
    port: int


def redirection_in(refusal: Refusal) -> Redirection | None:
    """Return where a refusal points to; ``None`` if it is no redirection."""
    found = _REDIRECTION.fullmatch(str(refusal)[:512])
    if found is None or int(found[2]) >= SLOTS or not 1 <= int(found[4]) <= 65535:
        return None
    host = found[3].removeprefix("[").removesuffix("]")
    return Redirection(found[1] == "ASK", int(found[2]), None if host in _UNKNOWN_HOSTS else host, int(found[4]))


class Announced(NamedTuple):
    """A node as the map names it.

    Attributes:
        id: Its id, which it keeps if its address changes.
        host: Its host; ``None`` is the one that was asked.
        port: Its port.
        others: Other names of the host.
    """

    id: bytes
    host: str | None
    port: int
    others: tuple[str, ...]


class Range(NamedTuple):
    """Consecutive slots of one primary."""

    first: int
    last: int
    primary: Announced
    replicas: tuple[Announced, ...]


def read_map(reply: Any) -> list[Range] | None:
    """Return what ``CLUSTER SLOTS`` was answered with; ``None`` if that is not a map."""
    try:
        ranges = [Range(int(first), int(last), *_nodes(nodes)) for first, last, *nodes in reply]
    except (TypeError, ValueError, IndexError, UnicodeDecodeError):
        return None
    return ranges if all(0 <= one.first <= one.last < SLOTS for one in ranges) else None


def _nodes(nodes: list[Any]) -> tuple[Announced, tuple[Announced, ...]]:
    primary, *replicas = map(_announced, nodes)
    return primary, tuple(replicas)


def _announced(node: list[Any]) -> Announced:
    host, port, name, *more = node
    if not isinstance(name, bytes) or not 1 <= port <= 65535:
        raise ValueError
    known = (text.decode() for text in _metadata(more[0] if more else None))
    others = tuple(text for text in known if text not in _UNKNOWN_HOSTS)
    if host is None or host == b"":
        return Announced(name, None, port, others)
    if host == b"?":
        # A host name is wanted, and this node has none.
        return Announced(name, others[0] if others else None, port, others)
    return Announced(name, host.decode(), port, others)


def _metadata(found: Any) -> Iterator[bytes]:
    """The values of what a node says beside its address: a list of names and values, or with RESP3 a dict."""
    if isinstance(found, dict):
        yield from found.values()
    elif isinstance(found, list):
        yield from found[1::2]


class NodeState(NamedTuple):
    """What a primary says of itself.

    Attributes:
        epoch: Its config epoch, which is raised when it takes slots.
        slots: The slots that it owns.
        importing: Slots of which keys come to it, and the id of the node that they come from.
        migrating: Slots of which keys leave it, and the id of the node that they go to.
        targets: The host and port of the nodes that keys go to, by id, as far as they are known.
    """

    epoch: int
    slots: frozenset[int]
    importing: dict[int, bytes]
    migrating: dict[int, bytes]
    targets: dict[bytes, Address]

    def took_since(self, before: NodeState) -> bool:
        """Return whether the node may have begun to take keys since an earlier state."""
        given_up = (before.migrating.keys() & self.slots) - self.migrating.keys()
        began = self.importing.keys() - before.importing.keys()
        return bool(self.epoch != before.epoch or self.slots - before.slots or began or given_up)


_UNDER_WAY: Final = re.compile(r"\[(\d+)-([<>])-(\w+)\]")


def read_state(reply: Any) -> NodeState | None:
    """Return what a node says of itself in ``CLUSTER NODES``; ``None`` if it is not a primary."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    lines = [words for line in text.split("\n") if len(words := line.split(" ")) >= 8]
    own = next((words for words in lines if "myself" in words[2].split(",")), None)
    if own is None or "master" not in own[2].split(","):
        return None
    slots: set[int] = set()
    marks: dict[str, dict[int, bytes]] = {"<": {}, ">": {}}
    for word in own[8:]:
        mark = _UNDER_WAY.fullmatch(word)
        if mark is not None:
            marks[mark[2]][int(mark[1])] = mark[3].encode()
        elif word:
            first, _, last = word.partition("-")
            slots.update(range(int(first), int(last or first) + 1))
    wanted = set(marks[">"].values())
    targets = {words[0].encode(): _address(words[1]) for words in lines if words[0].encode() in wanted}
    return NodeState(int(own[6]), frozenset(slots), marks["<"], marks[">"], targets)


def _address(text: str) -> Address:
    """The host and port of ``host:port@busport,hostname``."""
    host, _, port = text.partition("@")[0].rpartition(":")
    return host, int(port)
