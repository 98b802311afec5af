"""The types that the tests of values store, at module level so that their names resolve."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretBytes, SecretStr, field_serializer
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Mixed(enum.Enum):
    ONE = 1
    HALF = 0.5
    TEXT = "text"


class Pairs(enum.Enum):
    TUPLE = (1, 2)


class Nones(enum.Enum):
    NONE = None


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Owner(BaseModel):
    id: UUID
    pets: list[Pet] = []
    best: Pet | None = None
    since: datetime | None = None
    balance: Decimal = Decimal(0)


class Box(BaseModel, Generic[T]):
    content: T


class Node(BaseModel):
    """Refers to itself."""

    name: str
    children: list[Node] = []


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")
    other: int = Field(default=0, validation_alias="o")


class Computed(BaseModel):
    model_config = ConfigDict(frozen=True)
    ratio: float = 1.0


class Blob(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class PlainBlob(BaseModel):
    data: bytes


class Numbers(RootModel[list[int]]):
    pass


class Account(BaseModel):
    name: str
    password: SecretStr


class Keyring(BaseModel):
    keys: list[SecretBytes]


class Revealing(BaseModel):
    password: SecretStr

    @field_serializer("password", when_used="json")
    def reveal(self, password: SecretStr) -> str:
        return password.get_secret_value()


class Loose(BaseModel):
    """Holds what is not of the declared type."""

    number: float


class Anything(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    value: Any


class WithCallable(BaseModel):
    call: Callable[[], None]


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    points: tuple[Point, ...]


@pydantic_dataclass
class Checked:
    count: int
    tag: str = ""


class Pair(NamedTuple):
    left: int
    right: Point | None = None


class Session(TypedDict):
    user: int
    roles: list[str]


class Later(BaseModel):
    """Mentions a type that is defined after it."""

    thing: Thing


class Thing(BaseModel):
    size: int


class TextSub(str):
    pass


class IntSub(int):
    pass


class BytesSub(bytes):
    pass
