"""One row of the table of settings: its type and default, and what else is known of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Spec:
    """What is known of one setting besides its type and default.

    Attributes:
        group: heading of the reference page.
        help: one sentence.
        variables: environment variables, the one that wins first; each is also a config key if `in_file`.
        flag: option of the command line, or "".
        unit: unit of the value, or "".
        minimum: smallest number allowed.
        maximum: largest number allowed.
        choices: the words allowed, or () for any.
        aliases: other words for some of them, in capitals, each with the one that it stands for.
        secret: whether the value must never be shown.
        in_file: whether config.json may set it.
    """

    group: str
    help: str
    variables: tuple[str, ...] = ()
    flag: str = ""
    unit: str = ""
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    secret: bool = False
    in_file: bool = False


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        name: attribute of `Settings`.
        type: `str`, `int`, `float` or `bool`.
        optional: whether the value may be None.
        default: value where no source gives one.
        spec: the rest.
    """

    name: str
    type: type[str | int | float | bool]
    optional: bool
    default: Any
    spec: Spec

    @property
    def expected(self) -> str:
        """What a value must be, for error messages and help."""
        spec = self.spec
        if spec.choices:
            return "one of " + ", ".join(spec.choices)
        if self.type is bool:
            return "true or false"
        if self.type is str:
            return "a string"
        kind = "a number" if self.type is float else "an integer"
        if spec.minimum is not None and spec.maximum is not None:
            return f"{kind} from {spec.minimum} to {spec.maximum}"
        return kind if spec.minimum is None else f"{kind} of at least {spec.minimum}"


def row(default: Any, group: str, help_text: str, *variables: str, **rest: Any) -> Any:
    """Return the field of a setting; `rest` is what else `Spec` has."""
    spec = Spec(group, help_text, variables, **rest)
    return dataclasses.field(default=default, repr=not spec.secret, metadata={"spec": spec})
