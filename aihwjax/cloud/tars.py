"""Plain tar files that hold an experiment: written alike each time, read with distrust.

A member is a regular file or a folder with a plain relative name: no links, devices, absolute
names or ``..``, no extensions of the format (sparse files, long names, attributes).
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aihwjax import arguments
from aihwjax.errors import ArchiveError

DOCUMENT = "experiment.json"
PARAMETERS = "parameters"
BEST = "best"
_COMPONENT = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MOST_LEVELS = 12
_PIECE = 1 << 20
_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)


@arguments.answering
@dataclass(frozen=True)
class Limits:
    """What an archive may have."""

    members: int = 1_000
    """Files and folders."""
    size: int = 4 << 30
    """Bytes, in all."""
    document: int = 8 << 20
    """Bytes of the document."""


def write(file: IO[bytes], folder: Path) -> None:
    """Write the files of a folder as a tar, sorted and without times or owners.

    Args:
        file: Where to write.
        folder: What to write; has the document and the parameters.
    """
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
            if path.is_file():
                member = tarfile.TarInfo(path.relative_to(folder).as_posix())
                member.size, member.mode = path.stat().st_size, 0o644
                with path.open("rb") as content:
                    tar.addfile(member, content)


def extract(path: Path, folder: Path, limits: Limits) -> None:
    """Write the members of a tar into a folder, and nothing anywhere else.

    All headers are checked before anything is written.

    Args:
        path: The tar.
        folder: An empty folder.
        limits: What it may have.

    Raises:
        ArchiveError: If it is damaged, has members that are not allowed, or goes beyond a limit.
    """
    try:
        size = path.stat().st_size
        if size > limits.size:
            raise ArchiveError(f"the archive has {size} bytes: give at most {limits.size}")
        with path.open("rb") as file:
            for member in _members(file, size, limits):
                _copy(file, member, folder)
    except ArchiveError:
        raise
    except (tarfile.TarError, EOFError, RecursionError, ValueError, OverflowError) as error:
        raise ArchiveError(f"the archive is damaged: {error}") from None
    except OSError as error:
        raise ArchiveError(f"the archive cannot be unpacked: {error.strerror or error}") from None


def _members(file: IO[bytes], size: int, limits: Limits) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    names: dict[str, bool] = {}
    total = 0
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            _check(member, size)
            total += member.size
            if len(members) >= limits.members:
                raise ArchiveError(f"the archive has too many members: give at most {limits.members}")
            if total > limits.size or (member.name == DOCUMENT and member.size > limits.document):
                raise ArchiveError(f"member {member.name!r} is too large: it has {member.size} bytes")
            if member.name in names:
                raise ArchiveError(f"member {member.name!r} is there twice")
            names[member.name] = member.isdir()
            members.append(member)
    for name in names:
        above = name.rpartition("/")[0]
        while above:
            if names.get(above) is False:
                raise ArchiveError(f"member {above!r} is a file and a folder")
            above = above.rpartition("/")[0]
    if names.get(DOCUMENT) is not False:
        raise ArchiveError(f"the archive has no {DOCUMENT}")
    return members


def _check(member: tarfile.TarInfo, size: int) -> None:
    name = ascii(member.name)[:120]
    if member.type not in _TYPES or member.sparse is not None or member.pax_headers:
        raise ArchiveError(f"member {name} is not allowed: give regular files and folders only")
    parts = member.name.split("/")
    if not all(_COMPONENT.fullmatch(part) and part not in (".", "..") for part in parts) or len(parts) > _MOST_LEVELS:
        raise ArchiveError(f"member {name} is not allowed: give plain relative names")
    if parts[0] not in (PARAMETERS, BEST) and member.name != DOCUMENT:
        raise ArchiveError(f"member {name} is not allowed: give {DOCUMENT}, {PARAMETERS}/... and {BEST}/...")
    if member.size < 0 or member.offset_data + member.size > size or (member.isdir() and member.size):
        raise ArchiveError(f"the archive is cut off in member {name}")


def _copy(file: IO[bytes], member: tarfile.TarInfo, folder: Path) -> None:
    """Write one member; the folder was empty, so no link leads out of it."""
    path = folder.joinpath(*member.name.split("/"))
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file.seek(member.offset_data)
    left = member.size
    with path.open("xb") as target:
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise ArchiveError(f"the archive is cut off in member {member.name!r}")
            target.write(piece)
            left -= len(piece)
