"""What is compared: one folder of bench/systems for each system, with a system.toml that says all of its configuration.

Texts of system.toml may name ``{python}``, ``{bin}`` (of the system's environment), ``{root}`` (of the repository),
``{folder}`` (of the system), ``{scripts}`` (of the scoring scripts), ``{state}`` (for what a run writes), ``{models}``,
``{work}``, ``{port}``, ``{port2}``, ``{port3}``, ``{PATH}``, and what the table of the work adds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BENCH = Path(__file__).resolve().parents[1]
ROOT = BENCH.parent
CACHE = ROOT / ".cache" / "bench"
SYSTEMS = BENCH / "systems"

# In this order they are shown; ours is what the others are compared with.
OURS = "ours"
NAMES = (
    OURS,
    "released",
    "fastapi",
    "litserve",
    "bentoml",
    "mlserver",
    "mosec",
    "ray",
    "mlflow",
    "uvicorn",
    "llhttp",
    "loop",
)


class System(NamedTuple):
    """One of those that are compared.

    Attributes:
        name: of its folder, and of its environment.
        title: for people.
        requirements: what pip installs into its environment.
        table: the whole of its system.toml.
    """

    name: str
    title: str
    requirements: list[str]
    table: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where its code lies."""
        return SYSTEMS / self.name

    @property
    def environment(self) -> Path:
        """Where it is installed."""
        return CACHE / self.name

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        return self.environment / "bin" / "python"

    @property
    def models(self) -> Path:
        """Where the models are that it serves."""
        return CACHE / "models" / self.name

    @property
    def left_out(self) -> dict[str, str]:
        """Why it does not do some work, by the name of the work."""
        return dict(self.table.get("left_out", {}))

    def does(self, work: str) -> bool:
        """Return whether it does that work."""
        return work in self.table["work"]

    def setup(self, work: str) -> Setup:
        """Return how it does that work."""
        mine = {"form": "data", "command": [], "path": "/", "health": "/", "stop": "TERM"} | self.table
        mine |= self.table["work"][work]
        return Setup(self, work, mine)


class Setup(NamedTuple):
    """How a system does some work.

    Attributes:
        system: which.
        work: the name of the work.
        table: the system's settings, with those that the work has of its own.
    """

    system: System
    work: str
    table: dict[str, Any]

    def names(self, ports: tuple[int, int, int], state: Path, path: str) -> dict[str, str]:
        """Return what the texts of system.toml may name."""
        system = self.system
        fixed = {
            "python": str(system.python),
            "bin": str(system.environment / "bin"),
            "root": str(ROOT),
            "folder": str(system.folder),
            "scripts": str(SYSTEMS / "scripts"),
            "state": str(state),
            "models": str(system.models),
            "work": self.work,
            "port": str(ports[0]),
            "port2": str(ports[1]),
            "port3": str(ports[2]),
            "PATH": path,
        }
        own = {name: str(self.table[name]).format_map(fixed) for name in ("script", "class") if name in self.table}
        return fixed | own

    def environment(self) -> dict[str, str]:
        """Return what is added to its environment, with names in it."""
        env = dict(self.system.table.get("env", {}))
        return env | dict(self.system.table["work"][self.work].get("env", {}))


def load(names: tuple[str, ...] = NAMES) -> list[System]:
    """Return the systems of these names, ours first."""
    found = []
    for name in NAMES:
        if name in names:
            table = tomllib.loads((SYSTEMS / name / "system.toml").read_text("utf-8"))
            found.append(System(name, table["title"], table["requirements"], table))
    return found
