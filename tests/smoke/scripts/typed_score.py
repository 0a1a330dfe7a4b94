"""A typed script with a parameter of each kind; what it answers tells what arrived."""

import enum
from dataclasses import dataclass, field
from typing import Annotated, Literal, Optional

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field
from typing_extensions import NotRequired, TypedDict

from azmlinfsrv import Array, Frame


class Port(enum.Enum):
    """Where a passenger came on board."""

    SOUTHAMPTON = "S"
    CHERBOURG = "C"


class Passenger(BaseModel):
    """One person on board."""

    name: str = Field(min_length=1, examples=["Ada"])
    age: Optional[float] = Field(default=None, ge=0)
    port: Port = Port.SOUTHAMPTON


@dataclass
class Cabin:
    """Where a passenger sleeps."""

    deck: Literal["A", "B"]
    berths: list[int] = field(default_factory=list)


class Ticket(TypedDict):
    """What a passenger paid."""

    price: float
    currency: NotRequired[str]


class Summary(BaseModel):
    """What arrived."""

    passengers: list[Passenger]
    deck: str
    ticket: Ticket
    total: float
    columns: dict[str, str]
    note: str | None


def init():
    """Nothing to prepare."""


def run(
    passengers: list[Passenger],
    cabin: Cabin,
    ticket: Ticket,
    weights: Annotated[np.ndarray, Array("float32", "n 2")],
    table: Annotated[pd.DataFrame, Frame(a="float64", b="int64")],
    note: Optional[str] = None,
) -> Summary | None:
    """Sum up."""
    if not passengers:
        return None
    return Summary(
        passengers=passengers,
        deck=cabin.deck,
        ticket=ticket,
        total=float(weights.sum()),
        columns={name: str(kind) for name, kind in table.dtypes.items()},
        note=note,
    )
