"""The command line; the only place that exits the process."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NoReturn

from azmlinfsrv import logs
from azmlinfsrv._version import __version__
from azmlinfsrv.configuration import Configuration, coerce, load_configuration
from azmlinfsrv.environment import banner, notices, script_environment
from azmlinfsrv.errors import ConfigurationError, UsageError
from azmlinfsrv.script import import_paths
from azmlinfsrv.setting import Row
from azmlinfsrv.settings import Settings, rows
from azmlinfsrv.sockets import bind, ports
from azmlinfsrv.thread_limits import own_thread_limits

USAGE_FAILURE = 1
STARTUP_FAILURE = 3
_BIND_TRIES = 8
_BIND_WAIT_S = 0.25

logger = logging.getLogger("azmlinfsrv")

_NO_SCRIPT = (
    "Either provide an entry_script using --entry_script or "
    "provide a path to the configuration file using --config_file"
)


class _Parser(argparse.ArgumentParser):
    """Ends with exit code 1 where the command line is wrong, as release 1.5.1 does."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and one line, and exit."""
        self.print_usage(sys.stderr)
        self.exit(USAGE_FAILURE, f"{self.prog}: error: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; its options are the rows of the settings that have a flag."""
    parser = _Parser(
        prog="azmlinfsrv",
        description=f"Azure ML Inferencing HTTP server v{__version__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="azmlinfsrv dockerfile --help: write a Dockerfile for a folder.\n"
        "azmlinfsrv ray-config --help: print a configuration for Ray Serve.",
    )
    for row in rows().values():
        if row.spec.flag and row.type is bool:
            parser.add_argument(
                row.spec.flag,
                dest=row.name,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=_help(row),
            )
        elif row.spec.flag:
            parser.add_argument(
                row.spec.flag,
                dest=row.name,
                type=_argument(row),
                default=argparse.SUPPRESS,
                metavar=row.spec.flag.lstrip("-").upper(),
                help=_help(row),
            )
    parser.add_argument(
        "--print-nginx-config",
        action="store_true",
        help="Print the nginx.conf that --nginx makes, and exit.",
    )
    parser.add_argument("--rest", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"azmlinfsrv {__version__}")
    return parser


def _argument(row: Row) -> Any:
    def parse(text: str) -> Any:
        try:
            return coerce(row, text, "the command line")
        except ConfigurationError as error:
            message = f"{text!r} is not valid, expected {row.expected}"
            raise argparse.ArgumentTypeError(message) from error

    return parse


def _help(row: Row) -> str:
    unit = f" {row.spec.unit}" if row.spec.unit else ""
    default = "" if row.default is None else f" Default: {row.default}{unit}."
    variables = f" Variable: {row.spec.variables[0]}." if row.spec.variables else ""
    return (row.spec.help + default + variables).replace("%", "%%")


def make_dockerfile_parser() -> argparse.ArgumentParser:
    """Return the parser of `azmlinfsrv dockerfile`."""
    parser = _Parser(prog="azmlinfsrv dockerfile", description="Write a Dockerfile and a .dockerignore for a folder.")
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="Default: the working directory.")
    for name, text in (
        ("entry_script", "Path of the script. Default: config.json's, score.py, main.py, or the one with run()."),
        ("requirements", "Path of a requirements file. Default: requirements.txt, or that of an MLflow model."),
        ("conda_file", "Path of a conda file. Default: conda.yml or environment.yml, if it is there."),
        ("model_dir", "Path of the model's folder. Default: model, or where an MLmodel is."),
        ("base_image", "Image to begin with, of Debian or Ubuntu. Default: python:3.12-slim-bookworm."),
        ("extras", "Extras of azmlinfsrv, with commas between them."),
        (
            "package",
            "What pip installs as azmlinfsrv: a requirement, or a wheel in FOLDER. Default: this version or newer.",
        ),
    ):
        parser.add_argument(f"--{name}", default="", metavar=name.upper(), help=text)
    parser.add_argument("--force", action="store_true", help="Write over files that are there.")
    return parser


def _write_dockerfile(arguments: Sequence[str]) -> NoReturn:
    from azmlinfsrv import dockerfile, recipe

    given = vars(make_dockerfile_parser().parse_args(arguments))
    folder, force = given.pop("folder"), given.pop("force")
    try:
        plan = recipe.plan(folder, recipe.Wishes(**given))
        written = dockerfile.write(folder, plan, force=force)
    except UsageError as error:
        sys.stderr.write(f"azmlinfsrv dockerfile: error: {error.message}\n")
        sys.exit(USAGE_FAILURE)
    for path, is_new in written:
        sys.stdout.write(f"{'Wrote' if is_new else 'Kept'} {path}\n")
    packages = plan.conda_file or plan.requirements or "no list of packages"
    served = f"the MLflow model in {plan.mlflow_model}" if plan.mlflow_model else "the script of config.json"
    sys.stdout.write(f"It serves {plan.entry_script or served} with {packages}.\n")
    if recipe.lists_released_server(folder, plan):
        sys.stdout.write(f"Remove azureml-inference-server-http from {packages}: azmlinfsrv takes its place.\n")
    sys.exit(0)


def make_ray_config_parser() -> argparse.ArgumentParser:
    """Return the parser of `azmlinfsrv ray-config`."""
    parser = _Parser(prog="azmlinfsrv ray-config", description="Print a configuration file for `serve deploy`.")
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="NAME=VALUE",
        help="Settings of the server and options of Ray Serve, as for `serve run azmlinfsrv.ray:build`. "
        "Default: the script and the folder `model` of the working directory.",
    )
    for name, default, text in (
        ("name", "scoring", "Name of the application. Default: scoring."),
        ("route_prefix", "/", "Prefix of its paths. Default: /."),
        ("host", "0.0.0.0", "Address that Ray's proxies listen on. Default: 0.0.0.0."),  # noqa: S104 - Ray's own default for a cluster
        ("port", "8000", "Port that they listen on. Default: 8000."),
        ("working_dir", "", "Where Ray gets the folder from: the address of a zip. Default: it is on every machine."),
    ):
        parser.add_argument(f"--{name}", default=default, metavar=name.upper(), help=text)
    return parser


def _print_ray_config(arguments: Sequence[str]) -> NoReturn:
    from azmlinfsrv import ray_config

    given = vars(make_ray_config_parser().parse_args(arguments))
    try:
        text = ray_config.render(given.pop("arguments"), ray_config.Wishes(**given), os.getcwd())
    except ConfigurationError as error:
        sys.stderr.write(f"azmlinfsrv ray-config: error: {error.message}\n")
        sys.exit(USAGE_FAILURE)
    sys.stdout.write(text)
    sys.exit(0)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command.

    Exit codes: 0 stopped, 1 wrong command line or port in use, 3 the configuration or the script cannot be used.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "dockerfile":  # never an option, nor the value of one
        _write_dockerfile(arguments[1:])
    if arguments and arguments[0] == "ray-config":
        _print_ray_config(arguments[1:])
    parser = make_parser()
    given = vars(parser.parse_args(arguments))
    transport = "rest" if given.pop("rest") else "grpc"
    print_only = given.pop("print_nginx_config")
    # Release 1.5.1 leaves a handler on the root logger: what scripts log is formatted by it, and a basicConfig() of
    # theirs changes nothing.
    logging.basicConfig()
    logs.load(logs.PACKAGE)
    try:
        if print_only:
            _print_nginx_config(load_configuration(given, os.environ, os.getcwd()))
        configuration = _configure(given)
        _check_script(configuration)
        named = configuration.settings.config_file
        if named and named != configuration.config_file:
            logger.warning("The config file %s does not exist or is empty.", named)
        _check_access(configuration.settings)
        os.environ.update(script_environment(configuration, os.environ, transport))
        print_start(configuration)
        _limit_threads(configuration.settings)
        try:
            _serve(configuration)
        finally:
            _let_output_go()
    except UsageError as error:
        logger.error("Error!")  # noqa: TRY400 - the lines of release 1.5.1
        logger.error("%s", error.message)  # noqa: TRY400
        parser.print_usage(sys.stderr)
        sys.exit(USAGE_FAILURE)
    except ConfigurationError as error:
        logs.log_configuration_error(error)
        sys.exit(STARTUP_FAILURE)
    sys.exit(0)


def _let_output_go() -> None:
    """Write what is left of the output, or forget it: else Python ends with code 120 where nobody reads it."""
    for number, stream in ((1, sys.__stdout__), (2, sys.__stderr__)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _configure(given: Mapping[str, Any]) -> Configuration:
    """Return the configuration, and let the log have the format that it asks for, from the first line on.

    Raises:
        ConfigurationError: a value or the file is not valid.
    """
    try:
        configuration = load_configuration(given, os.environ, os.getcwd())
        if configuration.settings.log_format == "json":
            from azmlinfsrv.telemetry import json_logs

            json_logs.install()
    finally:
        logs.announce(logs.PACKAGE)
    return configuration


def _check_script(configuration: Configuration) -> None:
    """Refuse to start where no script is named, there is no main.py, and no MLflow model.

    Raises:
        ConfigurationError: it cannot be told which model is meant.
        UsageError: there is nothing to serve.
    """
    settings = configuration.settings
    if settings.entry_script or configuration.config_file:
        return
    folders = [os.getcwd(), *import_paths(settings), *sys.path]
    from azmlinfsrv.mlflow_folder import find_model

    has_main = any(os.path.isfile(os.path.join(folder, "main.py")) for folder in folders)
    if not has_main and find_model(settings.model_dir, settings.mlflow_model_folder) is None:
        raise UsageError(_NO_SCRIPT)


def _check_access(settings: Settings) -> None:
    """Refuse to start with keys or a certificate that cannot be used.

    Raises:
        ConfigurationError: one cannot.
    """
    if settings.wants_keys:
        from azmlinfsrv.access import check_keys

        check_keys(settings)
    if settings.tls_certificate is not None or settings.tls_key is not None:
        from azmlinfsrv import tls

        tls.check(settings)


def print_start(configuration: Configuration) -> None:
    """Print the notices and the banner."""
    lines = [*notices(configuration.settings, os.environ), *banner(configuration.settings, os.environ)]
    if configuration.settings.log_format == "json":
        for line in filter(None, lines):
            logger.info("%s", line)
        return
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _limit_threads(settings: Settings) -> None:
    """Tell the numerical libraries that the script will load how many threads to start."""
    if not settings.thread_limits_enabled:
        return
    workers = settings.worker_count if _uses_gunicorn(settings.hosting) else 1
    limits = own_thread_limits(workers, settings.worker_threads, os.environ)
    os.environ.update(limits)
    if limits:
        variables = ", ".join(f"{name}={value}" for name, value in limits.items())
        logger.info("Threads of numerical libraries are limited in each worker: %s", variables)


def _serve(configuration: Configuration) -> None:
    settings = configuration.settings
    _check_ports(settings)
    host: Callable[..., None]
    under_gunicorn = _uses_gunicorn(settings.hosting)
    if under_gunicorn:
        from azmlinfsrv import launcher

        host = launcher.run
    else:
        from azmlinfsrv import single

        host = single.run
    if settings.nginx:
        sys.exit(_supervisor().run(configuration, host, single=not under_gunicorn))
    host(configuration)


def _supervisor() -> ModuleType:
    """Return the module that runs nginx.

    Raises:
        ConfigurationError: this system has no processes that it could run it in.
    """
    if os.name != "posix":
        raise ConfigurationError("nginx in front of the server needs a POSIX system")
    from azmlinfsrv import supervisor

    return supervisor


def _print_nginx_config(configuration: Configuration) -> NoReturn:
    sys.stdout.write(_supervisor().print_config(configuration))
    sys.exit(0)


def _uses_gunicorn(hosting: str) -> bool:
    """Return whether to host under gunicorn.

    Raises:
        ConfigurationError: gunicorn is asked for and not to be had.
    """
    missing = [name for name in ("gunicorn", "uvloop") if importlib.util.find_spec(name) is None]
    if hosting == "gunicorn" and (missing or os.name != "posix"):
        raise ConfigurationError(f"hosting 'gunicorn' needs a POSIX system, gunicorn and uvloop; missing: {missing}")
    return hosting != "single" and os.name == "posix" and not missing


def _check_ports(settings: Settings) -> None:
    """Exit with 1 if an address cannot be listened on, after trying for two seconds."""
    if "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ:
        return  # the sockets are handed down
    for port in ports(settings):
        for attempt in range(_BIND_TRIES):
            try:
                bind(settings.host, port).close()
                break
            except OSError as error:
                if attempt == _BIND_TRIES - 1 or error.errno != errno.EADDRINUSE:
                    reason = "Connection in use" if error.errno == errno.EADDRINUSE else str(error)
                    logging.getLogger("gunicorn.error").error("%s: %s", reason, (settings.host, port))  # noqa: TRY400 - one line
                    sys.exit(USAGE_FAILURE)
                time.sleep(_BIND_WAIT_S)


if __name__ == "__main__":
    main()
