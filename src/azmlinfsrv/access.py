"""Which requests may pass: API keys, as Azure Machine Learning's online endpoints have them.

A client sends ``Authorization: Bearer KEY`` (RFC 6750); there may be several keys, and each is as good.
"""

from __future__ import annotations

import hmac
import logging
import os
import stat
import time
from collections.abc import Callable, Container, Mapping

from azmlinfsrv.errors import ConfigurationError, UnauthorizedError
from azmlinfsrv.inference_settings import is_inference, is_probe
from azmlinfsrv.settings import Settings

logger = logging.getLogger("azmlinfsrv")

# How often the file is looked at, at the most.
_LOOK_S = 1.0
_MOST_FILE_BYTES = 64 * 1024
_NO_FILE = (0, 0, 0, 0)

Stamp = tuple[int, int, int, int]


class ApiKeys:
    """The keys, in a form that does not tell them; used on the I/O thread.

    Args:
        keys: keys that never change.
        path: file with one key a line, or None.
        now: a clock, in seconds.
    """

    def __init__(self, keys: list[bytes], path: str | None = None, now: Callable[[], float] = time.monotonic) -> None:
        # Keys are compared by their digests under a secret of this process: these are of one length, and how long a
        # comparison takes says nothing about a key.
        self._secret = os.urandom(32)
        self._path = path
        self._now = now
        self._look_at = 0.0
        self._seen = _NO_FILE
        self._complaint = ""
        self._digests = self._digests_of(keys)
        if path is not None:
            self._look()

    def accepts(self, key: bytes) -> bool:
        """Return whether this is one of the keys; every key is compared, in constant time."""
        if self._path is not None and self._now() >= self._look_at:
            self._look()
        digest = self._digest(key)
        found = False
        for each in self._digests:
            found |= hmac.compare_digest(each, digest)
        return found

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._secret, key, "sha256")

    def _digests_of(self, keys: list[bytes]) -> tuple[bytes, ...]:
        return tuple(map(self._digest, keys))

    def _look(self) -> None:
        """Take the file's keys where it has changed; one that cannot be used leaves the last ones, with a warning."""
        assert self._path is not None  # noqa: S101 - asked for only where there is one
        self._look_at = self._now() + _LOOK_S
        try:
            stamp = _stamp(self._path)
            if stamp == self._seen:
                return
            self._digests = self._digests_of(read_keys(self._path))
        except ConfigurationError as error:
            self._seen = _NO_FILE
            if error.message != self._complaint:
                kept = "the last keys stay valid" if self._digests else "no request is accepted"
                logger.warning("%s: %s.", error.message, kept)
            self._complaint = error.message
            return
        if self._seen != _NO_FILE or self._complaint:
            logger.info("API keys were read again: there are %d.", len(self._digests))
        self._seen, self._complaint = stamp, ""


def read_keys(path: str) -> list[bytes]:
    """Return the keys of a file: one a line, empty lines left out.

    Raises:
        ConfigurationError: it cannot be read, holds no key, or what is no key.
    """
    try:
        _stamp(path)
        with open(path, "rb") as file:
            content = file.read(_MOST_FILE_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    keys = [line.strip() for line in content.splitlines()]
    keys = [key for key in keys if key]
    if not keys:
        raise ConfigurationError(f"the file {path} of AZMLINFSRV_API_KEYS_FILE holds no key")
    if len(content) > _MOST_FILE_BYTES or not all(map(_is_key, keys)):
        raise ConfigurationError(
            f"the file {path} of AZMLINFSRV_API_KEYS_FILE must hold one key a line, of visible ASCII characters"
        )
    return keys


def _stamp(path: str) -> Stamp:
    """Return what changes when a file, or the file that its name leads to, does.

    Raises:
        ConfigurationError: there is no such file.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"AZMLINFSRV_API_KEYS_FILE {path} is not a file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(path: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"the file {path} of AZMLINFSRV_API_KEYS_FILE cannot be read: {error.strerror}")


def _is_key(key: bytes) -> bool:
    return bool(key) and all(0x20 < byte < 0x7F for byte in key)


class Access:
    """Says whether a request may pass; used on the I/O thread.

    Args:
        keys: the keys.
        covered: paths that need one.
    """

    def __init__(self, keys: ApiKeys, covered: Container[str]) -> None:
        self._keys = keys
        self._covered = covered

    def refusal(self, path: str, headers: Mapping[bytes, bytes]) -> UnauthorizedError | None:
        """Return why a request may not pass, or None where it may.

        Args:
            path: its decoded path.
            headers: its fields, names in lower case.
        """
        if path not in self._covered:
            return None
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer":
            return UnauthorizedError("An API key is needed: Authorization: Bearer <key>", "Bearer")
        if not self._keys.accepts(key.strip()):
            return UnauthorizedError("The API key is not valid", 'Bearer error="invalid_token"')
        return None


class _AndModels(frozenset[str]):
    """Paths, and all of the Open Inference Protocol but its probes, those of models that there are not included."""

    def __contains__(self, path: object) -> bool:
        if super().__contains__(path):
            return True
        return isinstance(path, str) and is_inference(path) and not is_probe(path)


def configured_keys(settings: Settings) -> list[bytes]:
    """Return the keys of the variables.

    Raises:
        ConfigurationError: one is empty or no key, or there is a file as well.
    """
    given = {
        "AZMLINFSRV_API_KEY": settings.api_key,
        "AZMLINFSRV_API_KEY_SECONDARY": settings.api_key_secondary,
    }
    keys = []
    for variable, value in given.items():
        if value is None:
            continue
        key = value.encode("utf-8", "surrogateescape")
        if not _is_key(key):
            raise ConfigurationError(f"{variable} must be a key of visible ASCII characters, and not empty")
        keys.append(key)
    if keys and settings.api_keys_file is not None:
        raise ConfigurationError("AZMLINFSRV_API_KEY and AZMLINFSRV_API_KEYS_FILE are both set: choose one")
    return keys


def check_keys(settings: Settings) -> None:
    """Check the settings before anything else is done.

    Raises:
        ConfigurationError: a key, or the file of keys, cannot be used.
    """
    configured_keys(settings)
    if settings.api_keys_file is not None:
        read_keys(settings.api_keys_file)


def make_access(settings: Settings) -> Access | None:
    """Return what says which requests may pass, or None where all may.

    Where the file of keys cannot be read now, no request passes until it can.

    Raises:
        ConfigurationError: a key cannot be used.
    """
    if not settings.wants_keys:
        return None
    keys = configured_keys(settings)
    covered = {
        "/score": True,
        "/swagger.json": settings.api_key_for_swagger,
        "/metrics": settings.api_key_for_metrics,
        "/docs": settings.api_key_for_docs,
    }
    paths = (_AndModels if settings.v2_enabled else frozenset)(
        path for path, is_covered in covered.items() if is_covered
    )
    return Access(ApiKeys(keys, settings.api_keys_file), paths)
