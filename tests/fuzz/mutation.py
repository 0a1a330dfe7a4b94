"""Mutations of requests: the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.fuzz.corpus import WORDS

_MOST_BYTES = 40_000


class Mutator:
    """Makes requests from others.

    Args:
        seeds: what to begin with.
        seed: of the random numbers.

    Attributes:
        random: the random numbers.
    """

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - it must be repeatable
        self._seeds = seeds
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            *(self._flip, self._replace, self._insert, self._insert, self._remove, self._repeat),
            *(self._splice, self._swap_lines, self._drop_line, self._follow, self._change_case, self._cut),
        )

    def make(self) -> bytes:
        """Return a request: a seed, as it is once in a while, else changed in one to six ways."""
        rng = self.random
        data = rng.choice(self._seeds)
        for _ in range(min(int(rng.expovariate(0.5)), 6)):
            data = rng.choice(self._ways)(data)
        return data[:_MOST_BYTES]

    def pieces(self, data: bytes) -> list[bytes]:
        """Return the data cut in pieces: mostly one, at times many."""
        rng = self.random
        if len(data) < 2 or rng.random() < 0.6:
            return [data]
        cuts = sorted({rng.randrange(1, len(data)) for _ in range(rng.choice((1, 1, 2, 5, 20)))})
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _at(self, data: bytes) -> int:
        return self.random.randrange(len(data) + 1)

    def _range(self, data: bytes, most: int) -> tuple[int, int]:
        start = self._at(data)
        return start, min(len(data), start + self.random.randint(1, most))

    def _flip(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + bytes(each ^ (1 << self.random.randrange(8)) for each in data[at : at + 1]) + data[at + 1 :]

    def _replace(self, data: bytes) -> bytes:
        start, end = self._range(data, 4)
        return data[:start] + self.random.choice(WORDS) + data[end:]

    def _insert(self, data: bytes) -> bytes:
        at = self._at(data)
        if self.random.random() < 0.5:  # where a line begins
            at = data.rfind(b"\r\n", 0, at) + 2 if b"\r\n" in data[:at] else at
        return data[:at] + self.random.choice(WORDS) + data[at:]

    def _remove(self, data: bytes) -> bytes:
        start, end = self._range(data, 12)
        return data[:start] + data[end:]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._range(data, 60)
        return data[:end] + data[start:end] * self.random.choice((1, 1, 2, 30)) + data[end:]

    def _splice(self, data: bytes) -> bytes:
        other = self.random.choice(self._seeds)
        return data[: self._at(data)] + other[self._at(other) :]

    def _follow(self, data: bytes) -> bytes:
        return data + self.random.choice(self._seeds)

    def _swap_lines(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        one, two = self.random.randrange(len(lines)), self.random.randrange(len(lines))
        lines[one], lines[two] = lines[two], lines[one]
        return b"\r\n".join(lines)

    def _drop_line(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        del lines[self.random.randrange(len(lines))]
        return b"\r\n".join(lines)

    def _change_case(self, data: bytes) -> bytes:
        start, end = self._range(data, 20)
        return data[:start] + data[start:end].swapcase() + data[end:]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._at(data)]
