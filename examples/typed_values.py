"""What goes in comes out: values of any type that pydantic knows, checked when they are read.

Run it with ``python examples/typed_values.py``, or with ``--trio`` after it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import anyio
from pydantic import BaseModel, Field, TypeAdapter

from reinhardt_backends import Backend, DeserializationError, MemoryBackend, SerializationError


class Card(BaseModel):
    kind: Literal["card"] = "card"
    last_digits: str


class Transfer(BaseModel):
    kind: Literal["transfer"] = "transfer"
    iban: str


Payment = Annotated[Card | Transfer, Field(discriminator="kind")]


class Status(Enum):
    OPEN = "open"
    PAID = "paid"


@dataclass
class Item:
    name: str
    price: Decimal


class Order(BaseModel):
    id: UUID
    placed: datetime
    status: Status
    items: list[Item]
    payment: Payment


class OrderOfNextYear(BaseModel):
    id: UUID
    placed: datetime
    currency: str


ORDER = Order(
    id=UUID("3f0c8a52-5f1d-4a86-9d0e-0d5f9c3b7a11"),
    placed=datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    status=Status.OPEN,
    items=[Item("lamp", Decimal("19.90")), Item("kettle", Decimal("34.50"))],
    payment=Card(last_digits="4242"),
)


async def models(backend: Backend) -> None:
    """A model comes back as itself, with everything in it; without a type it is plain JSON data."""
    await backend.set("order", ORDER, timedelta(hours=1))
    order = await backend.get("order", Order)
    assert order is not None
    assert order == ORDER
    print("a model:         ", order.items[1], "paid by", type(order.payment).__name__)
    print("the same, untyped:", await backend.get("order"))


async def other_types(backend: Backend) -> None:
    """Any type expression will do, and a ``TypeAdapter`` as well."""
    await backend.set("due", date(2024, 3, 14))
    await backend.set("tags", {"red", "blue"})
    await backend.set("prices", {"lamp": Decimal("19.90")})
    await backend.set("photo", b"\x89PNG\xff\x00")
    print("a date:          ", repr(await backend.get("due", date)))
    print("a set:           ", sorted(await backend.get("tags", set[str], default=set[str]())))
    print("a dict:          ", await backend.get("prices", TypeAdapter(dict[str, Decimal])))
    print("bytes:           ", await backend.get("photo", bytes))


async def none_and_missing(backend: Backend) -> None:
    """``None`` is a value; a default tells it from a key that is not there."""
    await backend.set("middle name", None)
    print("a stored None:   ", await backend.get("middle name", str | None, default="not there"))
    print("a missing key:   ", await backend.get("maiden name", str | None, default="not there"))


async def what_does_not_fit(backend: Backend) -> None:
    """Reading never converts, and writing refuses what could not be read back. Errors show no stored value."""
    await backend.set("count", "1")
    for key, type_ in (("count", int), ("order", OrderOfNextYear)):
        try:
            await backend.get(key, type_)
        except DeserializationError as error:
            print("not read:        ", error)
    for value in (float("nan"), lambda: None):
        try:
            await backend.set("bad", value)
        except SerializationError as error:
            print("not stored:      ", error)


async def main() -> None:
    async with MemoryBackend() as backend:
        await models(backend)
        await other_types(backend)
        await none_and_missing(backend)
        await what_does_not_fit(backend)


if __name__ == "__main__":
    anyio.run(main, backend="trio" if "--trio" in sys.argv else "asyncio")
