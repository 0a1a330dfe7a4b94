"""The table of settings: every documented name is in it, and its rows are sound."""

from __future__ import annotations

import dataclasses

import pytest

from azmlinfsrv.setting import Row, Spec
from azmlinfsrv.settings import Settings, rows
from tests.documented import KEYS, VARIABLES

ROWS = list(rows().values())

UNITS = {"_ms": "milliseconds", "_s": "seconds", "_bytes": "bytes"}

# Command line of release 1.5.1.
RELEASED_FLAGS = [
    "--entry_script",
    "--model_dir",
    "--appinsights_instrumentation_key",
    "--port",
    "--health_port",
    "--worker_count",
    "--access_control_allow_origins",
    "--config_file",
]


def row_of(variable: str) -> Row:
    """Return the row that a variable sets."""
    (found,) = [row for row in ROWS if variable in row.spec.variables]
    return found


@pytest.mark.parametrize("variable", VARIABLES)
def test_documented_variables_are_in_the_table(variable: str) -> None:
    """Exactly one row answers to each documented environment variable."""
    assert row_of(variable)


@pytest.mark.parametrize("key", KEYS)
def test_documented_keys_may_stand_in_the_file(key: str) -> None:
    """Each documented key of config.json belongs to a row that the file may set."""
    assert row_of(key).spec.in_file


@pytest.mark.parametrize(("key", "default"), KEYS.items())
def test_defaults_are_the_documented_ones(key: str, default: object) -> None:
    """A setting that no source gives has the default of the document."""
    row = row_of(key)
    assert row.default == default
    assert getattr(Settings(), row.name) == default


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("port", 5001),
        ("health_port", 5000),
        ("worker_count", 1),
        ("worker_threads", 1),
        ("worker_timeout_s", 300),
        ("worker_preload", False),
        ("send_server_version", True),
        ("separate_health_endpoint", False),
        ("max_body_bytes", 100 * 1024 * 1024),
        ("app_insights_endpoint", "https://dc.services.visualstudio.com/v2/track"),
        ("host", "0.0.0.0"),  # noqa: S104 - what the released server listens on
    ],
)
def test_other_defaults(name: str, default: object) -> None:
    """Settings that are no keys of the documented file have the defaults of the document or the release."""
    assert getattr(Settings(), name) == default


@pytest.mark.parametrize("flag", RELEASED_FLAGS)
def test_released_flags_keep_their_names(flag: str) -> None:
    """Each option of the released server's command line belongs to exactly one row."""
    assert [row.spec.flag for row in ROWS].count(flag) == 1


@pytest.mark.parametrize(
    ("winner", "alias"),
    [
        ("AZUREML_ENTRY_SCRIPT", "AML_ENTRY_SCRIPT"),
        ("AZUREML_SOURCE_DIRECTORY", "AML_SOURCE_DIRECTORY"),
        ("AML_APP_INSIGHTS_KEY", "APPLICATIONINSIGHTS_CONNECTION_STRING"),
        ("AML_MODEL_DC_STORAGE_ENABLED", "AML_MDC_STORAGE_ENABLED"),
    ],
)
def test_aliases(winner: str, alias: str) -> None:
    """A setting with two variables prefers the one that the contract names first."""
    row = row_of(alias)
    assert row == row_of(winner)
    assert row.spec.variables.index(winner) < row.spec.variables.index(alias)


def test_no_name_is_taken_twice() -> None:
    """A variable or a flag belongs to one row only."""
    names = [name for row in ROWS for name in (*row.spec.variables, row.spec.flag) if name]
    assert len(names) == len(set(names))


def test_ports_are_not_read_from_the_environment() -> None:
    """SERVER_PORT and HEALTH_PORT tell the script where it is served, and set nothing."""
    assert not {"SERVER_PORT", "HEALTH_PORT"} & {name for row in ROWS for name in row.spec.variables}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_sound(row: Row) -> None:
    """Each row has a type, a default of that type within its own limits, a heading and a sentence."""
    assert row.type in (str, int, float, bool)
    assert row.default is None if row.optional else type(row.default) is row.type
    assert row.spec.group
    assert row.spec.help.endswith(".")
    if row.type in (int, float) and row.default is not None:
        assert row.spec.minimum is not None and row.default >= row.spec.minimum
        assert row.spec.maximum is None or row.default <= row.spec.maximum
    if row.spec.choices and row.default is not None:
        assert row.default in row.spec.choices


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_units_are_in_names_and_in_the_table(row: Row) -> None:
    """A setting's name ends in its unit, and the table says the same."""
    suffix = next((suffix for suffix in UNITS if row.name.endswith(suffix)), "")
    assert row.spec.unit == UNITS.get(suffix, "")


def test_a_row_of_every_field() -> None:
    """The table has a row for each field, and those of a group stand together."""
    assert sorted(rows()) == sorted(field.name for field in dataclasses.fields(Settings))
    groups = [row.spec.group for row in ROWS]
    assert groups == sorted(groups, key=groups.index)


def test_settings_do_not_change() -> None:
    """Settings are frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]  # what is refused


def test_keys_are_secret() -> None:
    """API keys, that of Application Insights and that of the storage account, and nothing else, are never shown."""
    secret = ["api_key", "api_key_secondary", "app_insights_key", "model_data_blob_connection"]
    assert [row.name for row in ROWS if row.spec.secret] == secret
    settings = Settings(**{name: f"my {name}" for name in secret})  # type: ignore[arg-type]
    assert not any(f"my {name}" in repr(settings) for name in secret)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("x", int, False, 1, Spec("g", "h", minimum=1, maximum=9)), "an integer from 1 to 9"),
        (Row("x", int, False, 1, Spec("g", "h", minimum=1)), "an integer of at least 1"),
        (Row("x", int, False, 1, Spec("g", "h")), "an integer"),
        (Row("x", float, False, 0.5, Spec("g", "h", minimum=0, maximum=1)), "a number from 0 to 1"),
        (Row("x", bool, False, True, Spec("g", "h")), "true or false"),
        (Row("x", str, True, None, Spec("g", "h")), "a string"),
        (Row("x", str, False, "a", Spec("g", "h", choices=("a", "b"))), "one of a, b"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_row_says_what_it_expects(row: Row, expected: str) -> None:
    """The words for messages and help follow from type, limits and choices."""
    assert row.expected == expected
