"""How fast values are written and read, beside what pydantic alone takes for them.

Run it with ``nox -s bench -- values``, or from the root of the project with ``python tests/bench/bench_values.py``.

Measured is ``MemoryBackend.set`` and ``get``, awaited, so the verb and the store are part of each number. The floor of
a line is pydantic's own call for the same value, taken beside it in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json, to_json

if __package__:
    from .table import Line, at_most, beside, report
else:
    from table import Line, at_most, beside, report

from reinhardt_backends import MemoryBackend


class Address(BaseModel):
    street: str
    city: str


class User(BaseModel):
    id: int
    name: str
    email: str
    active: bool
    address: Address


class Invoice(BaseModel):
    id: int
    price: float
    tax: float
    total: Decimal
    parts: dict[int, float]


class Event(BaseModel):
    """A model of what JSON spells as strings, and of what may be missing."""

    id: int
    name: str | None
    at: datetime
    tags: list[str]
    data: dict[str, Any]


def user(number: int) -> User:
    address = Address(street=f"Main Street {number}", city="Springfield")
    return User(id=number, name=f"user {number}", email=f"user{number}@example.com", active=True, address=address)


def invoice(number: int) -> Invoice:
    parts = {1: 1.5, 2: number / 7, 3: 3.25}
    return Invoice(id=number, price=number * 1.1, tax=0.19, total=Decimal("12.50"), parts=parts)


def event(number: int) -> Event:
    return Event(id=number, name=None, at=datetime(2024, 2, 29, 12), tags=["a", "b"], data={"a": 1, "b": [1, 2]})


SET = 'await backend.set("k", value)'
DUMP = "value.model_dump_json()"
DUMP_LIST = "adapter.dump_json(value)"
COUNT = 1000


async def written(rounds: int, calls: int) -> list[Line]:
    backend = MemoryBackend()
    few = max(1, calls // COUNT)
    plain = [{"id": number, "name": f"user {number}", "tags": ["a", "b"], "ratio": 0.5} for number in range(COUNT)]

    async def one(value: Any) -> float:
        return await beside(DUMP, SET, rounds=rounds, calls=calls, backend=backend, value=value)

    async def many(make: Any, type_: Any) -> float:
        names = {"backend": backend, "value": [make(number) for number in range(COUNT)], "adapter": TypeAdapter(type_)}
        return await beside(DUMP_LIST, SET, rounds=rounds, calls=few, **names)

    plain_floor = "from_json(to_json(value))"
    names = {"backend": backend, "value": plain, "to_json": to_json, "from_json": from_json}
    return [
        at_most("set of one model / model_dump_json", await one(user(1)), 4, 2.5),
        at_most("set of a model of floats, Decimal, mappings / dump", await one(invoice(1)), 6, 4),
        at_most("set of a model of datetimes, Any, lists / dump", await one(event(1))),
        at_most("set of a list of 1,000 models / dump_json", await many(user, list[User]), 3, 2),
        at_most("the same of floats, Decimal, mappings", await many(invoice, list[Invoice]), 5, 3),
        at_most("the same of datetimes, Any, lists", await many(event, list[Event])),
        at_most(
            "set of 1,000 plain dicts / to_json + from_json",
            await beside(plain_floor, SET, rounds=rounds, calls=few, **names), 1.3, 0.7,
        ),
    ]  # fmt: skip


async def read(rounds: int, calls: int) -> list[Line]:
    backend = MemoryBackend()
    few = max(1, calls // COUNT)
    value, values = user(1), [user(number) for number in range(COUNT)]
    await backend.set_many({"k": value, "many": values})
    names: dict[str, Any] = {"backend": backend, "User": User, "text": value.model_dump_json().encode()}
    many: dict[str, Any] = {
        "backend": backend, "type_": list[User], "adapter": TypeAdapter(list[User]), "text": to_json(values),
    }  # fmt: skip
    one = await beside(
        "User.model_validate_json(text, strict=True)",
        'await backend.get("k", User)',
        rounds=rounds,
        calls=calls,
        **names,
    )
    floor = "adapter.validate_json(text, strict=True)"
    return [
        at_most("get of one model / strict model_validate_json", one, 1.8, 1.3),
        at_most(
            "get of a list of 1,000 models / strict validate_json",
            await beside(floor, 'await backend.get("many", type_)', rounds=rounds, calls=few, **many),
        ),
    ]


def main(rounds: int, calls: int) -> int:
    print(f"{platform.python_implementation()} {platform.python_version()}, pydantic {pydantic.VERSION}")
    short = report("Writing", asyncio.run(written(rounds, calls)))
    return short + report("Reading", asyncio.run(read(rounds, calls)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=Path(__file__).stem)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each measurement (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=5_000, help="calls in one round (default: %(default)s)")
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.calls)
