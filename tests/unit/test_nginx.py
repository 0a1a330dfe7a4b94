"""The configuration of nginx, made from the settings: what is in it, and that nginx takes every variant."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from azmlinfsrv import nginx
from azmlinfsrv.configuration import load_configuration
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.nginx import Site, find, parse_version, quote, render
from azmlinfsrv.settings import Settings
from tests.conftest import RequireProgram

SITE = Site(("127.0.0.1:5001",), 256)

ORIGINS = r"https://www.bing.com, one.test,https://.*\.two\.test$,http://x{2}\.test"

VARIANTS = {
    "default": (Settings(), SITE),
    "ipv6": (Settings(host="::", server_address="[::1]:31311"), Site(("[::]:5001",), 256)),
    "health port": (Settings(separate_health_endpoint=True), Site(("0.0.0.0:5001", "0.0.0.0:5000"), 256)),
    "unix": (Settings(server_address="unix:/run/azmlinfsrv.sock"), SITE),
    "unix, odd": (Settings(server_address="unix:/tmp/a b;\"c\\d{e}$f#'g.sock"), SITE),
    "any body": (Settings(max_body_bytes=0), SITE),
    "large body": (Settings(max_body_bytes=10**12), SITE),
    "small header": (Settings(max_header_bytes=1024), SITE),
    "short times": (
        Settings(header_timeout_ms=1, body_timeout_ms=1, write_timeout_ms=1, keep_alive_timeout_ms=1),
        SITE,
    ),
    "long run": (Settings(scoring_timeout_ms=7_200_000), SITE),
    "many workers": (Settings(worker_count=64), SITE),
    "no docs, no version": (Settings(docs_enabled=False, send_server_version=False), SITE),
    "quiet": (Settings(log_level="ERROR"), SITE),
    "critical": (Settings(log_level="CRITICAL"), SITE),
    "any origin": (Settings(cors_origins="*"), SITE),
    "origins": (Settings(cors_origins=ORIGINS), SITE),
    "odd origins": (Settings(cors_origins="https://a\"b;{c}'\\d, (?P<x>a)b, a b#c, (?a)b, \\Ab, (?!c), é,,\t"), SITE),
    "inference": (Settings(v2_enabled=True), SITE),
    "verbose": (Settings(log_level="DEBUG"), SITE),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_nginx_takes_it(name: str, require_program: RequireProgram, tmp_path: Path) -> None:
    """`nginx -t` finds nothing wrong with the configuration, and writes nothing outside its folder."""
    settings, site = VARIANTS[name]
    program = find(require_program("nginx"))
    path = tmp_path / "nginx.conf"
    path.write_text(render(settings, site._replace(modules=program.modules)), "utf-8")
    printed = subprocess.run(
        [program.path, "-t", "-p", f"{tmp_path}/", "-c", str(path)], capture_output=True, text=True, check=False
    ).stderr
    assert "test is successful" in printed, printed
    assert "[emerg]" not in printed and "[warn]" not in printed, printed


def test_documented_values() -> None:
    """Timeouts of 1000 s, a body of 100 MB and the address behind nginx are the documented ones."""
    text = render(Settings(), SITE)
    for line in (
        "proxy_connect_timeout 1000s;",
        "proxy_read_timeout 1000s;",
        f"client_max_body_size {100 * 1024 * 1024};",
        'server "127.0.0.1:31311" max_fails=0;',
        "listen 127.0.0.1:5001 default_server",
        "server_tokens off;",
    ):
        assert line in text, line


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (Settings(header_timeout_ms=1500), "client_header_timeout 1500ms;"),
        (Settings(body_timeout_ms=1600), "client_body_timeout 1600ms;"),
        (Settings(write_timeout_ms=1700), "send_timeout 1700ms;"),
        (Settings(keep_alive_timeout_ms=1800), "keepalive_timeout 1800ms;"),
        (Settings(max_body_bytes=7), "client_max_body_size 7;"),
        (Settings(max_body_bytes=0), "client_max_body_size 1;"),
        (Settings(max_header_bytes=2048), "large_client_header_buffers 4 3072;"),
        (Settings(server_address="[::1]:7"), 'server "[::1]:7" max_fails=0;'),
        (Settings(server_address="unix:/run/a.sock"), 'server "unix:/run/a.sock" max_fails=0;'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_arrive(settings: Settings, line: str) -> None:
    """The server's own limits are nginx's too; none of them becomes "no limit"."""
    assert f"{line}\n" in render(settings, SITE)


@pytest.mark.parametrize(
    ("variable", "seconds"),
    [(None, 1000), ("3600000", 3630), ("5000", 1000), ("0", 1000), ("999000", 1029), ("7200000", 7230)],
)
def test_read_timeout(variable: str | None, seconds: int, tmp_path: Path) -> None:
    """Nginx waits the documented time, and longer where a limit of run() that was set asks for it."""
    environ = {} if variable is None else {"SCORING_TIMEOUT_MS": variable}
    configuration = load_configuration({}, environ, str(tmp_path))
    text = render(configuration.settings, SITE, configuration.sources)
    assert f"proxy_read_timeout {seconds}s;\n" in text


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:31311",
        "10.0.0.1:1",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:1; root /",
        "127.0.0.1:+1",
        "localhost:1",
        "::1:1 ;",
        "unix:relative",
        "unix:",
        "unix:/a\nb",
        "unix:/a\0b",
        "unix:/" + "a" * 100,
        "",
    ],
)
def test_addresses_that_are_refused(text: str) -> None:
    """An address that is not of this machine, or could end its directive, stops the start and is named."""
    with pytest.raises(ConfigurationError, match="server_address"):
        render(Settings(server_address=text), SITE)


def test_quotes_stay_inside() -> None:
    """A path with the signs of the configuration's language is one word: the lines are as many as without them."""
    odd, plain = (render(Settings(server_address=f"unix:/tmp/{name}"), SITE) for name in ('a"; } evil;\\', "a"))
    assert odd.count("\n") == plain.count("\n")
    assert quote('a"; } evil;\\') == '"a\\"; } evil;\\\\"'


@pytest.mark.parametrize("word", ["service_name", "hostname", "app_insights_key", "model_dir"])
def test_other_texts_stay_out(word: str) -> None:
    """Settings that nginx has no use for, secrets among them, are not in its configuration."""
    value: dict[str, Any] = {word: "k3y; }"}
    assert "k3y; }" not in render(Settings(**value), SITE)


def test_user_and_modules() -> None:
    """Workers get the user of the site, and only the folders of modules that nginx has are named."""
    text = render(Settings(), Site(("127.0.0.1:1",), 64, "nobody nogroup", ("scgi",)))
    assert "user nobody nogroup;" in text and "scgi_temp_path" in text and "uwsgi" not in text
    assert "user " not in render(Settings(), SITE)


def test_version() -> None:
    """Version and missing modules are read from what nginx prints."""
    printed = "nginx version: nginx/1.22.1 (Debian)\nconfigure arguments: --without-http_uwsgi_module"
    assert parse_version("/x", printed) == ("/x", (1, 22, 1), ("fastcgi", "scgi"))


@pytest.mark.parametrize(
    ("printed", "reason"), [("nginx version: nginx/1.10.3", "too old"), ("hello", "is not nginx"), ("", "is not nginx")]
)
def test_unusable_programs(printed: str, reason: str) -> None:
    """What is not nginx, or too old, is refused in one line."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        parse_version("/x", printed)
    assert "\n" not in caught.value.message


def test_missing_program() -> None:
    """Where nginx is missing, one line says how to get it."""
    with pytest.raises(ConfigurationError, match="apt-get install nginx-light") as caught:
        nginx.find("no-such-nginx")
    assert "\n" not in caught.value.message


def test_program_that_cannot_run(tmp_path: Path) -> None:
    """A file that is no program is refused."""
    path = tmp_path / "nginx"
    path.write_bytes(b"\x7fELF nothing")
    path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="cannot be run"):
        find(str(path))
