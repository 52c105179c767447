"""Files appear whole or not at all, whatever happens to the disk, in a folder and elsewhere."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from pathlib import Path

import pytest

from aihwjax.errors import ConfigError
from aihwjax.server.storage.artefacts import Artefacts
from tests.server.helpers import refused


@pytest.fixture(params=["folder", "memory", "s3"])
def artefacts(request, tmp_path) -> Artefacts:
    if request.param == "folder":
        return Artefacts((tmp_path / "files").as_uri())
    return Artefacts(f"memory://{uuid.uuid4().hex}" if request.param == "memory" else request.getfixturevalue("s3"))


def everything(artefacts: Artefacts) -> list[str]:
    return artefacts._system.find(artefacts._root)


def test_what_is_written_is_read(artefacts, tmp_path):
    stored = artefacts.write("abc-input", [b"one", b"", b"two"], 6)
    assert (stored.size, stored.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())
    assert b"".join(artefacts.chunks(stored.path)) == b"onetwo"
    called: list[int] = []
    artefacts.fetch(stored.path, tmp_path / "copy", stored.sha256, lambda: called.append(1))
    assert (tmp_path / "copy").read_bytes() == b"onetwo" and called
    refused(lambda: artefacts.fetch(stored.path, tmp_path / "other", "0" * 64), 500, "damaged")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["copy"]
    artefacts.remove(stored.path)
    artefacts.remove(stored.path)
    refused(lambda: artefacts.chunks(stored.path), 410, "gone")


def test_two_files_of_one_name_are_two(artefacts):
    first, second = (artefacts.write("abc-input", [text], 10) for text in (b"1", b"2"))
    assert b"".join(artefacts.chunks(first.path)) == b"1"
    assert b"".join(artefacts.chunks(second.path)) == b"2"


def test_an_error_of_the_sender_leaves_nothing(artefacts):
    def chunks():
        yield b"x" * 100
        raise OSError(errno.ENOSPC, "not of the disk, although it looks so")

    with pytest.raises(OSError, match="looks so"):
        artefacts.write("abc-input", chunks(), 1000)
    refused(lambda: artefacts.write("abc-input", [b"x" * 11], 10), 413, "too_large")
    assert everything(artefacts) == []


class FullFile:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        if len(data) > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= len(data)
        return self._file.write(data)

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self._file.close()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    artefacts = Artefacts((tmp_path / "files").as_uri())
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **more: FullFile(opened(self, mode, **more), 1500))
    error = refused(lambda: artefacts.write("abc-input", [bytes(1000)] * 3, 10_000), 507, "storage_full")
    assert error.retry_after > 0
    assert everything(artefacts) == []


def test_a_disk_that_is_full_at_the_end_is_told_too(tmp_path, monkeypatch):
    artefacts = Artefacts((tmp_path / "files").as_uri())

    def full(handle: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    refused(lambda: artefacts.write("abc-input", [b"x"], 10), 507, "storage_full")
    assert everything(artefacts) == []


@pytest.mark.skipif(os.name != "posix", reason="needs a limit of the size of files")
def test_a_limit_of_the_system_is_told(tmp_path):
    import resource
    import signal

    artefacts = Artefacts((tmp_path / "files").as_uri())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        refused(lambda: artefacts.write("abc-input", [bytes(60_000)] * 2, 1 << 20), 503, "storage")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert everything(artefacts) == []


def test_what_nobody_refers_to_is_swept_up_once_it_is_old(tmp_path):
    artefacts = Artefacts((tmp_path / "files").as_uri())
    known, orphan, young = (artefacts.write(name, [b"x"], 10) for name in ("ab-known", "ab-orphan", "ab-young"))
    torn = tmp_path / "files" / "ab" / ".ab-torn.part"
    torn.write_bytes(b"x")
    for path in (known.path, orphan.path, "ab/.ab-torn.part"):
        os.utime(tmp_path / "files" / path, (0, 0))
    assert sorted(artefacts.sweep({known.path}, 3600)) == sorted([orphan.path, "ab/.ab-torn.part"])
    assert sorted(Path(path).name for path in everything(artefacts)) == sorted(
        Path(entry.path).name for entry in (known, young)
    )


def test_urls_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    for url in ("nothing://x", (tmp_path / "file" / "below").as_uri()):
        with pytest.raises(ConfigError, match="artefacts cannot be used"):
            Artefacts(url)
