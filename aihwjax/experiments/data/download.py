"""Downloads: checked sums, atomic, resumed where they stopped, safe with several processes.

Pooch fetches into a temporary file, checks the published sum and renames; :class:`ResumingDownloader` is
its transport. A lock file lets one process at a time write a file; the others then find it there.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aihwjax.errors import DataError
from aihwjax.experiments.data.checks import one_line

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection before the next mirror is tried."""
READ_TIMEOUT = 30.0
"""Seconds without any data after which a transfer counts as interrupted."""
LOCK_TIMEOUT = 600.0
"""Seconds to wait for another process that downloads the same file."""
RESUMES = 3
"""Times that an interrupted transfer is taken up again, as long as each brings new data."""

_CHUNK = 1 << 16
_ADVICE = "allowed: a network connection, or a folder with the files as dataset_root or in AIHWJAX_DATA_DIR"


class TransferError(Exception):
    """A mirror could not deliver; the text says why. What has arrived is kept for the next attempt."""


def download_file(urls: Sequence[str], md5: str, target: Path, title: str) -> Path:
    """Download one file from the first mirror that delivers it, and return its path.

    Args:
        urls: Addresses of the file, in order of preference.
        md5: Published MD5 sum, in hexadecimal.
        target: Where the file is to lie. Until it is complete and checked there is no file of that name;
            what has arrived is beside it with the ending ``.part``.
        title: Name of the data set, for error messages.

    Raises:
        DataError: If no mirror delivers a file with that sum, the folder is not writable, the disk is full,
            or another process holds the file for too long.
    """
    import filelock

    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=LOCK_TIMEOUT)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock:
            return target if os.path.isfile(target) else _from_mirrors(urls, md5, target, title)
    except filelock.Timeout as error:
        raise DataError(
            f"{target}: another process has been downloading it for {LOCK_TIMEOUT:g} s; allowed: one at a time"
        ) from error
    except OSError as error:
        raise _disk_error(error, target, title) from error


def _from_mirrors(urls: Sequence[str], md5: str, target: Path, title: str) -> Path:
    import pooch

    reasons = []
    for url in urls:
        transport = ResumingDownloader(target.with_name(target.name + ".part"), f"{title} {target.name}")
        try:
            pooch.retrieve(url, f"md5:{md5}", fname=target.name, path=target.parent, downloader=transport)
            return target
        except TransferError as error:
            reasons.append(f"{urlsplit(url).hostname}: {error}")
        except ValueError:  # pooch: the sum differs; it has removed the file
            reasons.append(f"{urlsplit(url).hostname}: damaged, its MD5 sum is not {md5}")
    raise DataError(f"cannot download {target.name} of {title} to {target.parent} ({'; '.join(reasons)}); {_ADVICE}")


def _disk_error(error: OSError, target: Path, title: str) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"{target.parent}: the disk is full, cannot download {target.name} of {title};"
            " allowed: a disk with enough space (the download goes on where it stopped)"
        )
    return DataError(
        f"{target.parent}: cannot write {target.name} of {title} ({one_line(error)}); allowed: a writable folder"
    )


@dataclass(frozen=True)
class ResumingDownloader:
    """Transport for pooch that continues a partial file by an HTTP range request."""

    part: Path
    """The partial file."""
    label: str
    """What is being downloaded, for the progress bar."""

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch ``url`` into ``output_file`` (the interface of pooch).

        Raises:
            TransferError: If the server cannot be reached, refuses, or stops before the end.
            OSError: If the disk does not take the data.
        """
        for attempt in range(RESUMES + 1):
            before = self._size()
            try:
                self._transfer(url)
                break
            except TransferError:
                if attempt == RESUMES or self._size() <= before:
                    raise
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _transfer(self, url: str) -> None:
        """Append to the partial file what is missing of ``url``."""
        import requests

        offset = self._size()
        # The published sum is of the file as stored, so no decoding on the way.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as response:
                if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    self._finish_or_discard(response, offset)
                elif not response.ok:
                    raise TransferError(f"HTTP status {response.status_code}")
                else:
                    self._receive(response, self._start(response, offset))
        except requests.Timeout as error:
            raise TransferError("no answer in time") from error
        except requests.RequestException as error:
            plain = type(error) is requests.ConnectionError  # its subclasses, such as SSLError, say more
            raise TransferError("no connection" if plain else type(error).__name__) from error

    def _start(self, response: requests.Response, offset: int) -> int:
        """Return where the body begins: a server that knows no ranges sends the whole file again."""
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            return 0
        if response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            return offset
        raise self._discard("the server sent another range than asked for")

    def _discard(self, reason: str) -> TransferError:
        self.part.unlink(missing_ok=True)
        return TransferError(f"{reason}, the partial file was removed")

    def _finish_or_discard(self, response: requests.Response, offset: int) -> None:
        """Nothing lies beyond the partial file: it is complete, or it is not of this file at all."""
        if response.headers.get("Content-Range") == f"bytes */{offset}":
            return
        raise self._discard("the partial file is not of this file")

    def _receive(self, response: requests.Response, offset: int) -> None:
        """Write the body from ``offset`` on."""
        import urllib3

        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdigit() else None
        received = offset
        with self.part.open("r+b" if offset else "wb") as file, _progress(self.label, total, offset) as advance:
            file.seek(offset)
            try:
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    file.write(chunk)
                    received += len(chunk)
                    advance(len(chunk))
            except urllib3.exceptions.HTTPError as error:
                raise TransferError(f"interrupted after {received} of {total or 'unknown'} bytes") from error
        if total is not None and received < total:
            raise TransferError(f"interrupted after {received} of {total} bytes")


@contextmanager
def _progress(label: str, total: int | None, offset: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on the terminal, none elsewhere; yields what reports the bytes that have arrived."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(label, total=total, completed=offset)
        yield lambda count: progress.advance(task, count)
