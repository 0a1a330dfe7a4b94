"""The certificate that a server shows, and what it needs of a client's TLS."""

from __future__ import annotations

import os
import ssl

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.settings import Settings


def server_context(certificate: str, key: str | None) -> ssl.SSLContext:
    """Return the context of connections to a server: TLS 1.2 or newer, HTTP/1.1.

    Args:
        certificate: path of a PEM file with the chain.
        key: path of a PEM file with the private key; None where that is in the same file.

    Raises:
        ConfigurationError: one cannot be read, or the two do not belong together; no value of them is told.
    """
    for path in filter(None, (certificate, key)):
        _check_readable(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password=_refuse)
    except (ssl.SSLError, ValueError, TypeError) as error:
        files = f"{certificate!r} and {key!r}" if key else repr(certificate)
        raise ConfigurationError(f"the TLS certificate and key of {files} cannot be used: {_reason(error)}") from error
    return context


def own_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the context of this server's connections, or None where they are not encrypted, or nginx does it.

    Raises:
        ConfigurationError: the files cannot be used.
    """
    if settings.tls_certificate is None or settings.nginx:
        return None
    return server_context(settings.tls_certificate, settings.tls_key)


def check(settings: Settings) -> None:
    """Check the files before anything else is done.

    Raises:
        ConfigurationError: they cannot be used.
    """
    if settings.tls_certificate is not None:
        server_context(settings.tls_certificate, settings.tls_key)
    elif settings.tls_key is not None:
        raise ConfigurationError("AZMLINFSRV_TLS_KEY is set, but AZMLINFSRV_TLS_CERTIFICATE is not")


def _check_readable(path: str) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
    except OSError as error:
        raise ConfigurationError(f"the TLS file {path!r} cannot be read: {error.strerror}") from error


def _refuse() -> str:
    raise ValueError("the private key is encrypted")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "they are not PEM").lower().replace("_", " ")
    return str(error)
