"""The rows of the table of settings that say what happens to a server that cannot serve."""

from __future__ import annotations

from dataclasses import dataclass

from azmlinfsrv.setting import row


@dataclass(frozen=True)
class HealthSettings:
    """How long a stuck call may take to come back, and how long a failed start can be asked for its cause."""

    stuck_grace_ms: int = row(
        3000,
        "Limits",
        "Time that a call of `run()` may take to come back after its deadline, when its client has had its answer; "
        "then its worker is replaced. 0 is any time.",
        "AZMLINFSRV_STUCK_GRACE_MS",
        unit="milliseconds",
        minimum=0,
        in_file=True,
    )
    failed_start_hold_ms: int = row(
        10_000,
        "Network",
        "Time that the health port tells why the script could not be loaded, before the server ends; "
        "without SEPERATE_HEALTH_ENDPOINT it ends at once.",
        "AZMLINFSRV_FAILED_START_HOLD_MS",
        unit="milliseconds",
        minimum=0,
        in_file=True,
    )
