"""Takes types that pydantic validates."""

import datetime
from typing import Optional, Union

from pydantic import BaseModel


class Item(BaseModel):
    """One item, which may hold others."""

    name: str
    price: float
    when: Optional[datetime.datetime] = None
    parts: list["Item"] = []


def init():
    """Load nothing."""


def run(items: list[Item], count: int = 1, tags: dict[str, Union[int, str]] = {}) -> dict[str, int]:
    """Return how many."""
    return {"items": len(items), "count": count % 1000, "tags": len(tags)}
