"""The rows of the table of settings about who may call the server, and over what."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from azmlinfsrv.setting import row

ACCESS = "Access"
KEY_VARIABLES = ("AZMLINFSRV_API_KEY", "AZMLINFSRV_API_KEY_SECONDARY")


@dataclass(frozen=True)
class AccessSettings:
    """The keys that clients need, and the certificate of the server."""

    api_key: str | None = row(
        None,
        ACCESS,
        "Key that a client must send as `Authorization: Bearer …`; without any key everybody may call. "
        "It is taken out of the environment before the script is loaded.",
        KEY_VARIABLES[0],
        secret=True,
    )
    api_key_secondary: str | None = row(
        None,
        ACCESS,
        "A second key that is as good, so that keys can be changed one after the other.",
        KEY_VARIABLES[1],
        secret=True,
    )
    api_keys_file: str | None = row(
        None,
        ACCESS,
        "Path of a file with one key a line, instead of the variables; it is read again within a second when it has "
        "changed.",
        "AZMLINFSRV_API_KEYS_FILE",
        in_file=True,
    )
    api_key_for_swagger: bool = row(
        True,
        ACCESS,
        "`/swagger.json` needs a key, where there is one.",
        "AZMLINFSRV_API_KEY_FOR_SWAGGER",
        in_file=True,
    )
    api_key_for_metrics: bool = row(
        True, ACCESS, "`/metrics` needs a key, where there is one.", "AZMLINFSRV_API_KEY_FOR_METRICS", in_file=True
    )
    api_key_for_docs: bool = row(
        False,
        ACCESS,
        "`/docs` needs a key, where there is one; a browser by itself sends none. "
        "The page holds nothing of the script, and asks for the key that `/swagger.json` and `/score` need.",
        "AZMLINFSRV_API_KEY_FOR_DOCS",
        in_file=True,
    )
    tls_certificate: str | None = row(
        None,
        ACCESS,
        "Path of a PEM file with the server's certificate and those between it and its authority; with it, the port "
        "speaks TLS 1.2 or newer, the health port stays plain. It is read again at SIGHUP.",
        "AZMLINFSRV_TLS_CERTIFICATE",
        flag="--tls_certificate",
        in_file=True,
    )
    tls_key: str | None = row(
        None,
        ACCESS,
        "Path of a PEM file with the certificate's private key, not encrypted; without one, the key is in the "
        "certificate's file.",
        "AZMLINFSRV_TLS_KEY",
        flag="--tls_key",
        in_file=True,
    )

    @property
    def wants_keys(self) -> bool:
        """Whether clients need a key."""
        return (self.api_key, self.api_key_secondary, self.api_keys_file) != (None, None, None)


def hide_keys(environ: MutableMapping[str, str]) -> Callable[[], None]:
    """Take the keys out of an environment, so that the script and what it starts do not have them.

    Returns:
        The function that puts them back.
    """
    hidden = {name: environ.pop(name) for name in KEY_VARIABLES if name in environ}
    return lambda: environ.update(hidden)
