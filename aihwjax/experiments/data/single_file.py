"""One file from an address that a user names: with a limit of its size, and checked by its sum if there is one."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag, urlsplit

from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments.data.checks import one_line
from aihwjax.experiments.data.download import CONNECT_TIMEOUT, READ_TIMEOUT
from aihwjax.experiments.data.folder import data_root

LARGEST = 4 << 30
"""Bytes of a file, at most."""
_CHUNK = 1 << 16
_FOLDER = "weight_templates"
_SUM = "sha256="


class _Address(NamedTuple):
    url: str
    """Without what follows the hash."""
    sha256: str | None
    """Sum that the file must have."""
    name: str
    """Last part of the path."""


def is_address(text: str) -> bool:
    """Whether a text is an address rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def fetched(address: str, endings: Collection[str], largest: int | None = None) -> Path:
    """Download a file and return its path.

    It lies in the folder of data sets (``AIHWJAX_DATA_DIR``, or the user's cache folder). One with a sum is taken from
    there the next time; one without is downloaded again, as it may have changed.

    Args:
        address: ``http://`` or ``https://``, perhaps with ``#sha256=`` and 64 hexadecimal digits behind it.
        endings: Of its name, one of which it must have.
        largest: Bytes, at most; ``None``: :data:`LARGEST`.

    Raises:
        ConfigError: If the address is not allowed.
        DataError: If it cannot be downloaded or written, is too large, or has another sum.
    """
    found = _parsed(address, endings)
    folder = data_root(None) / _FOLDER
    target = folder / f"{hashlib.sha256(found.url.encode()).hexdigest()[:16]}-{found.name}"
    if found.sha256 is not None and target.is_file() and _sum(target) == found.sha256:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({one_line(error)}); allowed: a writable folder") from error
    try:
        sum_ = _transfer(found.url, handle, LARGEST if largest is None else largest)
        if found.sha256 not in (None, sum_):
            raise DataError(f"its SHA-256 sum is {sum_}, and not {found.sha256}")
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({one_line(error)}); allowed: space for the file") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _parsed(address: str, endings: Collection[str]) -> _Address:
    url, fragment = urldefrag(address)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"an address {parts.scheme}:// is not allowed: give http:// or https:// and a host")
    sha256 = None
    if fragment:
        sha256 = fragment.removeprefix(_SUM).lower()
        if not fragment.startswith(_SUM) or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ConfigError(f"#{fragment[:80]} is not allowed: give #{_SUM} and 64 hexadecimal digits, or nothing")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(parts.path).rsplit("/", 1)[-1])[-80:]
    if not name.endswith(tuple(endings)):
        raise ConfigError(f"the address of {name!r} is not allowed: give that of a file {' or '.join(endings)}")
    return _Address(url, sha256, name)


def _transfer(url: str, handle: int, largest: int) -> str:
    """Write what an address sends into an open file, close that, and return the sum."""
    import requests

    digest, count = hashlib.sha256(), 0
    with os.fdopen(handle, "wb") as file:
        try:
            # the sum is of the file as stored, so no decoding on the way
            headers = {"Accept-Encoding": "identity"}
            timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)
            with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
                if not response.ok:
                    raise DataError(f"{urlsplit(url).hostname} answers with the HTTP status {response.status_code}")
                for chunk in response.iter_content(_CHUNK):
                    count += len(chunk)
                    if count > largest:
                        raise DataError(f"the file has more than {largest} bytes, which is not allowed")
                    digest.update(chunk)
                    file.write(chunk)
        except requests.Timeout as error:
            raise DataError(f"{urlsplit(url).hostname} does not answer in time") from error
        except requests.RequestException as error:
            raise DataError(f"{urlsplit(url).hostname} cannot be reached ({type(error).__name__})") from error
    return digest.hexdigest()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
