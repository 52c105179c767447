"""Stored files: in a folder, or wherever fsspec reaches. A file appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.server.errors import ServiceError

_BLOCK = 1 << 20
_PART = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Stored(NamedTuple):
    """A file that was written."""

    path: str
    """Its name for the other methods."""
    sha256: str
    size: int
    """Bytes."""


class Artefacts:
    """A place for files."""

    def __init__(self, url: str) -> None:
        """Open the place.

        Args:
            url: URL as fsspec reads it, such as ``file:///srv/artefacts`` or ``s3://bucket/folder``.

        Raises:
            ConfigError: If the URL is not allowed or the folder cannot be made.
            MissingExtraError: If its kind of storage needs a package that is not installed.
        """
        try:
            self._system, root = fsspec.core.url_to_fs(url)
            self._root = str(root).rstrip("/")
            self._local = isinstance(self._system, LocalFileSystem)
            self._system.makedirs(self._root, exist_ok=True)
        except ImportError as error:
            raise MissingExtraError(f"artefacts: {error}; for s3, pip install 'aihwjax[s3]'") from None
        except (ValueError, OSError) as error:
            raise ConfigError(f"artefacts cannot be used: {' '.join(str(error).split())}") from None

    def write(
        self,
        name: str,
        chunks: Iterable[bytes],
        limit: int,
        *,
        size: int | None = None,
        sha256: str | None = None,
    ) -> Stored:
        """Write a file under a name of its own; if anything fails, nothing is left behind.

        Args:
            name: Start of the name.
            chunks: The content; an error that it raises is passed on.
            limit: Most bytes.
            size: Bytes that it must have, if known.
            sha256: Hash that it must have, if known.

        Raises:
            ServiceError: 413 if it is too large, 400 if it is cut off, 422 if size or hash differ,
                507 if the disk is full, 503 if it cannot be written for another reason.
        """
        path = f"{name[:2]}/{name}.{secrets.token_hex(6)}"
        with _failures(), contextlib.ExitStack() as stack:
            file = stack.enter_context(self._new_local(path) if self._local else self._new(path))
            return Stored(path, *_copy(_passed_on(chunks), file, limit, size, sha256))

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read a file piece by piece.

        Args:
            path: From :meth:`write`.

        Raises:
            ServiceError: 410 if it is gone, 503 if it cannot be read.
        """
        file = self._open(path)  # at once, so that the answer's head can tell
        return _blocks(file)

    def fetch(self, path: str, target: Path, sha256: str, each: Callable[[], None] = lambda: None) -> None:
        """Copy a file to a local one, which appears whole or not at all.

        Args:
            path: From :meth:`write`.
            target: The copy; replaced if it exists.
            sha256: Hash that it must have.
            each: Called after each piece; an error that it raises ends the copy.

        Raises:
            ServiceError: As :meth:`chunks`; 507 if the disk is full, 500 if the content is damaged.
        """
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}{_PART}")
        try:
            with _failures(), temporary.open("wb") as file:
                found = _copy(_calling(each, self.chunks(path)), file, 1 << 62, None, None)[0]
                os.fsync(file.fileno())
            if found != sha256:
                raise ServiceError(500, "damaged", f"the stored file {path} is damaged")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        """Remove a file; it may be gone already."""
        with contextlib.suppress(OSError):
            self._system.rm_file(f"{self._root}/{path}")

    def sweep(self, known: Collection[str], seconds: float) -> list[str]:
        """Remove old files that nothing refers to: whoever wrote them was killed before it could say so.

        Args:
            known: Paths that are referred to.
            seconds: Age from which a file is old.

        Returns:
            Paths of what was removed.
        """
        removed = []
        for name, info in self._system.find(self._root, detail=True).items():
            path = name.removeprefix(f"{self._root}/")
            if path not in known and _changed(info) < time.time() - seconds:
                self.remove(path)
                removed.append(path)
        return removed

    @contextlib.contextmanager
    def _new_local(self, path: str) -> Iterator[IO[bytes]]:
        target = Path(self._root, path)
        temporary = target.with_name(f".{target.name}{_PART}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _new(self, path: str) -> Iterator[Any]:
        full = f"{self._root}/{path}"
        self._system.makedirs(full.rpartition("/")[0], exist_ok=True)
        file = self._system.open(full, "wb", autocommit=False)
        try:
            yield file
            file.close()
            file.commit()
        except BaseException:
            with contextlib.suppress(Exception):  # of a file that could not even be closed
                file.close()
            with contextlib.suppress(Exception):
                file.discard()
            self.remove(path)  # some storages show a file from its first byte
            raise

    def _open(self, path: str) -> Any:
        try:
            return self._system.open(f"{self._root}/{path}", "rb")
        except FileNotFoundError:
            raise ServiceError(410, "gone", "the file is no longer stored") from None
        except OSError as error:
            raise ServiceError(503, "storage", "the file cannot be read, try again", retry_after=5) from error


def _changed(info: Mapping[str, Any]) -> float:
    """When a file was last changed, in the words of different storages; unknown: just now."""
    for name in ("mtime", "LastModified", "last_modified", "created"):
        if (value := info.get(name)) is not None:
            return float(value.timestamp() if hasattr(value, "timestamp") else value)
    return time.time()


class _SourceError(Exception):
    """An error of who sends the content, which is not one of the storage."""


def _calling(each: Callable[[], None], chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        each()
        yield chunk


def _passed_on(chunks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except Exception as error:
        raise _SourceError from error


def _copy(
    chunks: Iterable[bytes], file: IO[bytes], limit: int, size: int | None, sha256: str | None
) -> tuple[str, int]:
    """Copy while counting and hashing; return hash and bytes."""
    count, digest = 0, hashlib.sha256()
    most = limit if size is None else min(limit, size)
    for chunk in chunks:
        count += len(chunk)
        if count > most:
            if count > limit:
                raise ServiceError(413, "too_large", f"the file is too large: at most {limit} bytes are allowed")
            raise ServiceError(422, "bad_size", f"the file has more than the {size} bytes that were announced", "size")
        digest.update(chunk)
        file.write(chunk)
    if size is not None and count < size:
        raise ServiceError(400, "cut_off", f"the file was cut off after {count} of {size} bytes: send it again")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise ServiceError(422, "bad_hash", "the file is not the one that was announced: its SHA-256 differs", "sha256")
    return digest.hexdigest(), count


def _blocks(file: Any) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except _SourceError as error:
        raise (error.__cause__ or error) from None
    except OSError as error:
        if error.errno in _FULL:
            raise ServiceError(507, "storage_full", "the disk of the composer is full", retry_after=60) from error
        raise ServiceError(503, "storage", "the file cannot be stored, try again", retry_after=5) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
