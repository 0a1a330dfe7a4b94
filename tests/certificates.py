"""Certificates for tests, made as they run."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate of 127.0.0.1, which is its own authority.

    Attributes:
        path: the certificate.
        key: its private key.
    """

    path: Path
    key: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command line that serves it."""
        return "--tls_certificate", str(self.path), "--tls_key", str(self.key)

    def trusting(self) -> ssl.SSLContext:
        """Return the context of a client that trusts this certificate, and no other."""
        return ssl.create_default_context(cafile=str(self.path))


def make_certificate(openssl: str, folder: Path, name: str = "server") -> Certificate:
    """Return a new certificate in a folder.

    Args:
        openssl: path of the program.
        folder: where its files go.
        name: their stem.
    """
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(made.key), "-out", str(made.path)]
    subprocess.run([openssl, "req", "-x509", *kind, *subject, *files], check=True, capture_output=True)
    return made
