"""Settings from their sources: which one wins, what is found where, and what stops the start."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azmlinfsrv.configuration import Configuration, coerce, load_configuration
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.settings import Settings, rows


class Sources:
    """A command line, an environment and a working directory of one test."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd

    def load(self, arguments: Mapping[str, Any] | None = None, /, **environ: str) -> Configuration:
        """Merge the command line and the environment, in the working directory."""
        return load_configuration(arguments or {}, environ, str(self.cwd))

    def write(self, content: object, name: str = "config.json") -> str:
        """Write a file (JSON unless it is text already) and return its path."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Sources that hold nothing yet."""
    return Sources(tmp_path)


# -- Which source wins -----------------------------------------------------------------------------------------------


def test_defaults_where_nothing_is_given(sources: Sources, tmp_path: Path) -> None:
    """Without any source the settings are the table's defaults, with the working directory as root."""
    configuration = sources.load()
    assert configuration == Configuration(Settings(app_root=str(tmp_path)), {}, "", ())


def test_the_command_line_wins(sources: Sources) -> None:
    """The command line beats the environment, which beats the file."""
    sources.write({"AML_CORS_ORIGINS": "file", "SERVICE_NAME": "file", "WORKSPACE_NAME": "file"})
    configuration = sources.load({"cors_origins": "line"}, AML_CORS_ORIGINS="variable", SERVICE_NAME="variable")
    settings = configuration.settings
    assert (settings.cors_origins, settings.service_name, settings.workspace_name) == ("line", "variable", "file")


def test_sources_are_told(sources: Sources) -> None:
    """Each value that is not a default is known with where it came from."""
    path = sources.write({"WORKSPACE_NAME": "file"})
    configuration = sources.load({"port": 8080}, SERVICE_NAME="variable")
    assert configuration.sources == {
        "port": "command line (--port)",
        "service_name": "environment variable SERVICE_NAME",
        "workspace_name": f"key WORKSPACE_NAME of config file {path}",
    }


@pytest.mark.parametrize(
    ("winner", "alias", "name", "values"),
    [
        ("AZUREML_ENTRY_SCRIPT", "AML_ENTRY_SCRIPT", "entry_script", ("a.py", "b.py")),
        ("AZUREML_SOURCE_DIRECTORY", "AML_SOURCE_DIRECTORY", "source_directory", ("a", "b")),
        ("AML_APP_INSIGHTS_KEY", "APPLICATIONINSIGHTS_CONNECTION_STRING", "app_insights_key", ("a", "b")),
        ("AML_MODEL_DC_STORAGE_ENABLED", "AML_MDC_STORAGE_ENABLED", "model_data_enabled", ("true", "false")),
    ],
)
def test_aliases(sources: Sources, winner: str, alias: str, name: str, values: tuple[str, str]) -> None:
    """Both names of a setting work, in the environment and in the file; the contract says which one wins."""
    expected = [coerce(rows()[name], value, "") for value in values]

    assert getattr(sources.load(**{alias: values[1]}).settings, name) == expected[1]
    assert getattr(sources.load(**{winner: values[0], alias: values[1]}).settings, name) == expected[0]

    sources.write({alias: values[1]})
    assert getattr(sources.load().settings, name) == expected[1]
    sources.write({alias: values[1], winner: values[0]})
    assert getattr(sources.load().settings, name) == expected[0]


def test_an_alias_in_the_environment_beats_the_file(sources: Sources) -> None:
    """A variable under either name beats a key under the name that wins."""
    sources.write({"AZUREML_ENTRY_SCRIPT": "file.py"})
    assert sources.load(AML_ENTRY_SCRIPT="variable.py").settings.entry_script == "variable.py"


def test_a_path_on_the_command_line_is_relative_to_the_working_directory(sources: Sources, tmp_path: Path) -> None:
    """The entry script of the command line becomes an absolute path; that of a variable stays relative to the root."""
    assert sources.load({"entry_script": "sub/score.py"}).settings.entry_script == str(tmp_path / "sub" / "score.py")
    assert sources.load(AZUREML_ENTRY_SCRIPT="sub/score.py").settings.entry_script == "sub/score.py"


@pytest.mark.parametrize("name", ["entry_script", "config_file"])
def test_an_empty_path_on_the_command_line_is_none(sources: Sources, name: str) -> None:
    """A path that is empty is as good as not given (release 1.5.1), and not the working directory."""
    assert getattr(sources.load({name: ""}).settings, name) is None


def test_links_on_the_command_line_are_followed(sources: Sources, tmp_path: Path) -> None:
    """The entry script's real path counts, as in the released server: its folder is where its modules are."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    assert sources.load({"entry_script": "link/score.py"}).settings.entry_script == str(real / "score.py")


def test_a_key_on_the_command_line_switches_telemetry_on(sources: Sources) -> None:
    """--appinsights_instrumentation_key means that telemetry is wanted, whatever the environment says."""
    configuration = sources.load({"app_insights_key": "k"}, AML_APP_INSIGHTS_ENABLED="false")
    assert configuration.settings.app_insights_enabled is True


def test_a_key_in_the_environment_does_not(sources: Sources) -> None:
    """AML_APP_INSIGHTS_KEY alone does not switch telemetry on."""
    assert sources.load(AML_APP_INSIGHTS_KEY="k").settings.app_insights_enabled is False


@pytest.mark.parametrize("variable", ["SERVER_PORT", "HEALTH_PORT"])
def test_port_variables_are_not_read(sources: Sources, variable: str) -> None:
    """A container sets SERVER_PORT for others; the server's own port is that of its command line."""
    settings = sources.load(**{variable: "7777"}).settings
    assert (settings.port, settings.health_port) == (5001, 5000)


def test_variables_in_any_case(sources: Sources) -> None:
    """A variable that the file may set counts in any case of letters, the exact one first (release 1.5.1)."""
    assert sources.load(scoring_timeout_ms="5").settings.scoring_timeout_ms == 5
    assert sources.load(Scoring_Timeout_Ms="5", SCORING_TIMEOUT_MS="7").settings.scoring_timeout_ms == 7
    assert sources.load(worker_count="5").settings.worker_count == 1


# -- config.json -----------------------------------------------------------------------------------------------------


def test_the_documented_sample(sources: Sources) -> None:
    """The sample of the document, with its comma mended, is accepted."""
    sources.write(
        {
            "AZUREML_ENTRY_SCRIPT": "/mnt/d/tests/manual/default_score.py",
            "AML_CORS_ORIGINS": "www.microsoft.com ",
            "SCORING_TIMEOUT_MS": 6000,
            "AML_APP_INSIGHTS_ENABLED": True,
        }
    )
    settings = sources.load().settings
    assert settings.entry_script == "/mnt/d/tests/manual/default_score.py"
    assert settings.scoring_timeout_ms == 6000
    assert settings.app_insights_enabled is True


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("AML_APP_ROOT", "/r", "app_root", "/r"),
        ("AZUREML_SOURCE_DIRECTORY", "s", "source_directory", "s"),
        ("AZUREML_ENTRY_SCRIPT", "e.py", "entry_script", "e.py"),
        ("SERVICE_NAME", "n", "service_name", "n"),
        ("WORKSPACE_NAME", "w", "workspace_name", "w"),
        ("SERVICE_PATH_PREFIX", "p", "service_path_prefix", "p"),
        ("SERVICE_VERSION", "2.5", "service_version", "2.5"),
        ("SCORING_TIMEOUT_MS", 10, "scoring_timeout_ms", 10),
        ("SCORING_TIMEOUT_MS", "10", "scoring_timeout_ms", 10),
        ("SCORING_TIMEOUT_MS", 0, "scoring_timeout_ms", 0),
        ("SCORING_TIMEOUT_MS", 10.0, "scoring_timeout_ms", 10),
        ("AML_FLASK_ONE_COMPATIBILITY", "True", "flask_one_compatibility", True),
        ("AML_FLASK_ONE_COMPATIBILITY", "False", "flask_one_compatibility", False),
        ("AZUREML_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("AZUREML_LOG_LEVEL", "WARN", "log_level", "WARNING"),
        ("AZUREML_LOG_LEVEL", " fatal", "log_level", "CRITICAL"),
        ("AML_APP_INSIGHTS_ENABLED", True, "app_insights_enabled", True),
        ("AML_APP_INSIGHTS_KEY", "k", "app_insights_key", "k"),
        ("AML_APP_INSIGHTS_ENDPOINT", "https://e", "app_insights_endpoint", "https://e"),
        ("AML_MODEL_DC_STORAGE_ENABLED", True, "model_data_enabled", True),
        ("AML_MDC_STORAGE_ENABLED", "true", "model_data_enabled", True),
        ("APP_INSIGHTS_LOG_RESPONSE_ENABLED", "False", "app_insights_log_response", False),
        ("AML_CORS_ORIGINS", "*", "cors_origins", "*"),
        ("AZUREML_MODEL_DIR", "/m", "model_dir", "/m"),
        ("AZUREML_MODEL_DIR", False, "model_dir", None),
        ("HOSTNAME", "h", "hostname", "h"),
        ("AZUREML_DEBUG_PORT", 5678, "debug_port", 5678),
        ("AZUREML_DEBUG_PORT", None, "debug_port", None),
        ("SERVICE_NAME", None, "service_name", "ML service"),
    ],
)
def test_keys_of_the_file(sources: Sources, key: str, value: object, name: str, expected: object) -> None:
    """Every documented key works, a JSON value or its text alike; null, and false for a path, are "not set"."""
    sources.write({key: value})
    configuration = sources.load()
    assert getattr(configuration.settings, name) == expected
    assert configuration.unknown_keys == ()


def test_unknown_keys_are_told(sources: Sources) -> None:
    """Keys that are no settings are listed in the file's order, for the warning, and change nothing."""
    sources.write({"ZZZ": 1, "SERVICE_NAME": "n", "WORKER_COUNT": 9, "aaa": {}})
    configuration = sources.load()
    assert configuration.unknown_keys == ("ZZZ", "WORKER_COUNT", "aaa")
    assert configuration.settings.worker_count == 1


def test_a_byte_order_mark_is_skipped(sources: Sources) -> None:
    """A file saved with a UTF-8 byte order mark is read."""
    sources.write("\ufeff" + json.dumps({"SERVICE_NAME": "é"}))
    assert sources.load().settings.service_name == "é"


@pytest.mark.parametrize("content", ["{", "{'a': 1}", '{"a": 1},', "\x00"])
def test_a_file_that_is_not_json_stops_the_start(sources: Sources, content: str) -> None:
    """The message names the file and says that it is not JSON."""
    path = sources.write(content, "named.json")
    with pytest.raises(ConfigurationError, match="is not valid JSON") as caught:
        sources.load({"config_file": "named.json"})
    assert repr(path) in caught.value.message


def test_a_file_that_is_not_text_stops_the_start(sources: Sources, tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are a configuration error like any other."""
    (tmp_path / "config.json").write_bytes(b'{"SERVICE_NAME": "\xff"}')
    with pytest.raises(ConfigurationError, match="is not valid JSON"):
        sources.load()


@pytest.mark.parametrize("content", [[], 1, None, "text"])
def test_a_file_that_is_no_object_stops_the_start(sources: Sources, content: object) -> None:
    """JSON of another kind is refused with the path of the file."""
    path = sources.write(json.dumps(content))
    with pytest.raises(ConfigurationError, match="must hold a JSON object") as caught:
        sources.load()
    assert path in caught.value.message


# -- Where the file is looked for ------------------------------------------------------------------------------------


def test_the_file_of_the_command_line_wins(sources: Sources) -> None:
    """--config_file beats AZUREML_CONFIG_FILE, and both beat the places where it is looked for."""
    sources.write({"SERVICE_NAME": "found"})
    line, variable = sources.write({"SERVICE_NAME": "line"}, "l.json"), sources.write({"SERVICE_NAME": "v"}, "v.json")

    configuration = sources.load({"config_file": "l.json"}, AZUREML_CONFIG_FILE=variable)
    assert (configuration.settings.service_name, configuration.config_file) == ("line", line)
    configuration = sources.load(AZUREML_CONFIG_FILE=variable)
    assert (configuration.settings.service_name, configuration.config_file) == ("v", variable)


def test_the_app_root_comes_before_the_script(sources: Sources, tmp_path: Path) -> None:
    """config.json is looked for in AML_APP_ROOT, then beside the entry script."""
    root = sources.write({"SERVICE_NAME": "root"}, "root/config.json")
    beside = sources.write({"SERVICE_NAME": "beside"}, "code/config.json")
    environ = {"AML_APP_ROOT": str(tmp_path / "root"), "AZUREML_ENTRY_SCRIPT": str(tmp_path / "code" / "score.py")}

    assert sources.load(**environ).config_file == root
    Path(root).unlink()
    assert sources.load(**environ).config_file == beside
    Path(beside).unlink()
    assert sources.load(**environ).config_file == ""


def test_beside_a_relative_script(sources: Sources, tmp_path: Path) -> None:
    """A relative script of the environment lies below the app root, and so does its config.json."""
    beside = sources.write({}, "root/code/config.json")
    configuration = sources.load(AML_APP_ROOT=str(tmp_path / "root"), AZUREML_ENTRY_SCRIPT="code/score.py")
    assert configuration.config_file == beside


def test_an_empty_file_is_passed_over(sources: Sources) -> None:
    """An empty config.json counts as none, as in the released server."""
    sources.write("")
    beside = sources.write({"SERVICE_NAME": "beside"}, "code/config.json")
    assert sources.load(AZUREML_ENTRY_SCRIPT="code/score.py").config_file == beside


def test_a_named_file_that_is_missing_is_left_out_of_account(sources: Sources) -> None:
    """As with the released server, a file that is named and not there does not stop the start; the log tells."""
    loaded = sources.load({"config_file": "nowhere.json"})
    assert loaded.config_file == ""
    assert loaded.settings.config_file is not None


def test_a_named_file_that_is_empty_is_left_out_of_account(sources: Sources) -> None:
    """An empty file counts as none, and the usual places are looked at."""
    found = sources.write({"SERVICE_NAME": "found"})
    named = sources.write("", "named.json")
    assert sources.load(AZUREML_CONFIG_FILE=named).config_file == found


# -- Values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "True", "TRUE", "1", "yes", "y", "on", "t", " true ", True, 1])
def test_true(value: object) -> None:
    """Every way to write true is one."""
    assert coerce(rows()["worker_preload"], value, "") is True


@pytest.mark.parametrize("value", ["false", "False", "0", "no", "n", "off", "f", False, 0])
def test_false(value: object) -> None:
    """Every way to write false is one."""
    assert coerce(rows()["send_server_version"], value, "") is False


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SCORING_TIMEOUT_MS", "soon", "an integer of at least 0"),
        ("SCORING_TIMEOUT_MS", "", "an integer of at least 0"),
        ("SCORING_TIMEOUT_MS", -5, "an integer of at least 0"),
        ("SCORING_TIMEOUT_MS", 1.5, "an integer of at least 0"),
        ("SCORING_TIMEOUT_MS", True, "an integer of at least 0"),
        ("SCORING_TIMEOUT_MS", [1], "an integer of at least 0"),
        ("SCORING_TIMEOUT_MS", float("nan"), "an integer of at least 0"),
        ("SCORING_TIMEOUT_MS", float("inf"), "an integer of at least 0"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", "half", "a number from 0 to 1"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", "", "a number from 0 to 1"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", 1.01, "a number from 0 to 1"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", -0.5, "a number from 0 to 1"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", True, "a number from 0 to 1"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", [0.5], "a number from 0 to 1"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", "nan", "a number from 0 to 1"),
        ("AZMLINFSRV_MODEL_DATA_SAMPLE_RATE", 10**400, "a number from 0 to 1"),
        ("AZUREML_DEBUG_PORT", 0, "an integer from 1 to 65535"),
        ("AZUREML_DEBUG_PORT", 65536, "an integer from 1 to 65535"),
        ("AML_APP_INSIGHTS_ENABLED", "perhaps", "true or false"),
        ("AML_APP_INSIGHTS_ENABLED", 2, "true or false"),
        ("AML_APP_INSIGHTS_ENABLED", 1.0, "true or false"),
        ("AML_APP_INSIGHTS_ENABLED", {}, "true or false"),
        ("SERVICE_NAME", 5, "a string"),
        ("SERVICE_NAME", True, "a string"),
        ("AZUREML_ENTRY_SCRIPT", ["a.py"], "a string"),
        ("AZUREML_LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("AZMLINFSRV_HOSTING", "nginx", "one of auto, gunicorn, single"),
    ],
)
def test_a_wrong_value_stops_the_start(sources: Sources, key: str, value: object, expected: str) -> None:
    """The message names value, key, file and what was expected."""
    path = sources.write({key: value})
    with pytest.raises(ConfigurationError) as caught:
        sources.load()
    assert caught.value.message == f"{value!r} from key {key} of config file {path} is not valid: expected {expected}"


def test_a_wrong_variable_is_named(sources: Sources) -> None:
    """A value of the environment that is wrong names its variable."""
    with pytest.raises(ConfigurationError) as caught:
        sources.load(WORKER_COUNT="0")
    message = "'0' from environment variable WORKER_COUNT is not valid: expected an integer from 1 to 1024"
    assert caught.value.message == message


def test_a_secret_is_not_shown(sources: Sources) -> None:
    """A key that is not valid does not appear in the message."""
    sources.write({"AML_APP_INSIGHTS_KEY": 123456})
    with pytest.raises(ConfigurationError) as caught:
        sources.load()
    assert "123456" not in caught.value.message
    assert "AML_APP_INSIGHTS_KEY" in caught.value.message


def test_a_value_that_is_overruled_is_not_looked_at(sources: Sources) -> None:
    """A wrong value in the file does not matter where the environment has the setting."""
    sources.write({"SCORING_TIMEOUT_MS": "soon"})
    assert sources.load(SCORING_TIMEOUT_MS="5").settings.scoring_timeout_ms == 5


@pytest.mark.parametrize("value", ["0.25", 0.25, "2.5e-1"])
def test_a_number_may_have_a_fraction(value: object) -> None:
    """A share is a number, from text or from JSON; whole ones do too."""
    row = rows()["model_data_sample_rate"]
    assert coerce(row, value, "") == 0.25
    assert coerce(row, 1, "") == 1


@settings(deadline=None)
@given(st.integers() | st.integers().map(str) | st.booleans() | st.floats() | st.text() | st.none())
def test_a_port_is_a_port(value: object) -> None:
    """Whatever the source holds, the result is an integer from 1 to 65535, the default, or an error."""
    row = rows()["debug_port"]
    with contextlib.suppress(ConfigurationError):
        port = coerce(row, value, "a source")
        assert port is None if value is None else type(port) is int and 1 <= port <= 65535
