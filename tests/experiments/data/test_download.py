import errno
import gzip
import hashlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aihwjax.errors import DataError
from aihwjax.experiments.data import Dataset, download
from aihwjax.experiments.data.folder import FileSet, RemoteFile
from aihwjax.experiments.data.images import IdxFolder
from tests.experiments.data import files, server

BODY = bytes(np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8))
MD5 = hashlib.md5(BODY).hexdigest()


def fetch(web: server.Behaviour, folder: Path, md5: str = MD5) -> Path:
    return download.download_file([web.url + "a.bin"], md5, folder / "a.bin", "Example")


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def assert_one_line(error: pytest.ExceptionInfo[DataError], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for part in ("allowed", *parts):
        assert part in text


def test_a_full_download_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    with server.serving({"a.bin": BODY}) as web:
        path = fetch(web, tmp_path / "new" / "folder")
    assert path.read_bytes() == BODY
    assert contents(path.parent) == {"a.bin"}


def test_a_file_that_is_there_is_not_downloaded_again(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"of the user's own")
    with server.serving({"a.bin": BODY}) as web:
        assert fetch(web, tmp_path).read_bytes() == b"of the user's own"
    assert web.requests == []


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_an_interrupted_transfer_is_taken_up_within_the_same_call(tmp_path: Path, ranges: bool) -> None:
    with server.serving({"a.bin": BODY}, ranges=ranges, cut_after=[70_000]) as web:
        assert fetch(web, tmp_path).read_bytes() == BODY
    assert web.requests == [("a.bin", ""), ("a.bin", "bytes=70000-")]


def test_an_interrupted_download_goes_on_in_the_next_call(tmp_path: Path) -> None:
    with server.serving({"a.bin": BODY}, cut_after=[50_000, 0]) as web:
        with pytest.raises(DataError) as error:
            fetch(web, tmp_path)
        assert_one_line(error, "a.bin", "interrupted after 50000 of 200000 bytes")
        assert contents(tmp_path) == {"a.bin.part"}
        assert fetch(web, tmp_path).read_bytes() == BODY
    assert web.requests[-1] == ("a.bin", "bytes=50000-")
    assert contents(tmp_path) == {"a.bin"}


def test_a_partial_file_that_is_complete_needs_no_further_data(tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY)
    with server.serving({"a.bin": BODY}) as web:
        assert fetch(web, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("partial", [b"x" * 1000, b"x" * len(BODY), b"x" * (len(BODY) + 9)], ids=len)
def test_a_wrong_partial_file_is_refused_once_and_then_gone(tmp_path: Path, partial: bytes) -> None:
    (tmp_path / "a.bin.part").write_bytes(partial)
    with server.serving({"a.bin": BODY}) as web:
        with pytest.raises(DataError):
            fetch(web, tmp_path)
        assert contents(tmp_path) == set()
        assert fetch(web, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("served", "how", "reason"),
    [
        ({"a.bin": BODY[:-1] + b"\0"}, {}, f"its MD5 sum is not {MD5}"),
        ({"a.bin": BODY[:1000]}, {}, f"its MD5 sum is not {MD5}"),
        ({"a.bin": BODY}, {"cut_after": [0]}, "interrupted after 0 of 200000 bytes"),
        ({}, {}, "HTTP status 404"),
        ({"a.bin": BODY}, {"status": 503}, "HTTP status 503"),
    ],
    ids=["corrupted", "truncated", "empty answer", "not found", "not available"],
)
def test_a_bad_answer_is_a_data_error(tmp_path: Path, served: dict[str, bytes], how: dict, reason: str) -> None:
    with server.serving(served, **how) as web, pytest.raises(DataError) as error:
        fetch(web, tmp_path)
    assert_one_line(error, "a.bin of Example", str(tmp_path), "127.0.0.1", reason)
    assert "a.bin" not in contents(tmp_path)


def test_the_next_mirror_is_tried(tmp_path: Path) -> None:
    with server.serving({"a.bin": BODY[:-1]}) as bad, server.serving({"a.bin": BODY}) as good:
        urls = [bad.url + "a.bin", good.url + "a.bin"]
        path = download.download_file(urls, MD5, tmp_path / "a.bin", "Example")
    assert path.read_bytes() == BODY
    assert (len(bad.requests), len(good.requests)) == (1, 1)


def test_a_packed_file_that_is_declared_as_encoded_stays_packed(tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    with server.serving({"a.bin": packed}, content_encoding="gzip") as web:
        path = fetch(web, tmp_path, hashlib.md5(packed).hexdigest())
    assert path.read_bytes() == packed


def test_no_network_is_reported_soon(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refuses connections
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.bin"
        start = time.monotonic()
        with pytest.raises(DataError) as error:
            download.download_file([url, url], MD5, tmp_path / "a.bin", "Example")
    assert time.monotonic() - start < 5
    assert_one_line(error, "a.bin of Example", "no connection", "dataset_root", "AIHWJAX_DATA_DIR")


def test_an_unknown_host_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        download.download_file(["http://host.invalid/a.bin"], MD5, tmp_path / "a.bin", "Example")
    assert_one_line(error, "host.invalid")


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "READ_TIMEOUT", 0.3)
    start = time.monotonic()
    with server.serving({"a.bin": BODY}, delay=8) as web, pytest.raises(DataError) as error:
        fetch(web, tmp_path)
    assert time.monotonic() - start < 5
    assert_one_line(error, "interrupted after 0 of 200000 bytes")


def test_a_full_disk_is_reported_and_the_download_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity = 100_000
    real_open = Path.open

    class FullDisk:
        def __init__(self, file) -> None:
            self.file = file

        def __enter__(self) -> "FullDisk":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def __getattr__(self, name: str):
            return getattr(self.file, name)

        def write(self, data: bytes) -> int:
            if self.file.tell() + len(data) > capacity:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    def open_on_full_disk(path: Path, *arguments: object, **options: object):
        opened = real_open(path, *arguments, **options)
        return FullDisk(opened) if path.name.endswith(".part") else opened

    with server.serving({"a.bin": BODY}) as web:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_on_full_disk)
            with pytest.raises(DataError) as error:
                fetch(web, tmp_path)
        assert_one_line(error, "disk is full", str(tmp_path), "a.bin of Example")
        kept = (tmp_path / "a.bin.part").stat().st_size
        assert 0 < kept <= capacity
        assert fetch(web, tmp_path).read_bytes() == BODY
    assert web.requests[-1] == ("a.bin", f"bytes={kept}-")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    with server.serving({"a.bin": BODY}) as web, pytest.raises(DataError) as error:
        fetch(web, tmp_path / "occupied" / "folder")
    assert_one_line(error, "cannot write", str(tmp_path / "occupied"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_an_unwritable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real_open = Path.open

    def refuse(path: Path, *arguments: object, **options: object):
        if path.name.endswith(".part"):
            raise OSError(number, "refused", str(path))
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with server.serving({"a.bin": BODY}) as web, pytest.raises(DataError) as error:
        fetch(web, tmp_path)
    assert_one_line(error, "cannot write a.bin", "writable folder")


def test_two_processes_download_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from aihwjax.experiments.data.download import download_file;"
        "path = download_file([sys.argv[1]], sys.argv[2], Path(sys.argv[3]), 'Example'); print(path)"
    )
    with server.serving({"a.bin": BODY}, delay=0.5) as web:
        command = [sys.executable, "-c", code, web.url + "a.bin", MD5, str(tmp_path / "a.bin")]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        outputs = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert outputs[0] == outputs[1]
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert len(web.requests) == 1


def test_waiting_for_another_process_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    monkeypatch.setattr(download, "LOCK_TIMEOUT", 0.2)
    with filelock.FileLock(tmp_path / ".a.bin.lock"), pytest.raises(DataError) as error:
        download.download_file(["http://host.invalid/a.bin"], MD5, tmp_path / "a.bin", "Example")
    assert_one_line(error, "another process")


def remote_mnist(url: str, content: dict[str, bytes]) -> Dataset:
    remote = tuple(RemoteFile(name, hashlib.md5(body).hexdigest()) for name, body in content.items())
    source = IdxFolder(FileSet("Small", remote, (url,), ("Small/raw", "Small", ".")))
    return Dataset(name="small", title="Small", classes=10, shape=(1, 28, 28), source=source)


def test_a_data_set_is_downloaded_and_then_read_from_disk(tmp_path: Path) -> None:
    content = {name: gzip.compress(body) for name, body in files.mnist_files(train=12, valid=7).items()}
    with server.serving(content) as web:
        dataset = remote_mnist(web.url, content)
        first = dataset.load(tmp_path)
        assert len(web.requests) == 4
        again = dataset.load(tmp_path)
    assert len(web.requests) == 4
    assert first.train_x.shape == (12, 1, 28, 28)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first.train_x[:, 0], files.images(12, 1).astype(np.float32) / np.float32(255))


def test_only_the_missing_files_are_downloaded(tmp_path: Path) -> None:
    content = {name: gzip.compress(body) for name, body in files.mnist_files().items()}
    raw = tmp_path / "Small" / "raw"
    raw.mkdir(parents=True)
    (raw / files.MNIST_NAMES[0]).write_bytes(content[files.MNIST_NAMES[0]])
    with server.serving(content) as web:
        remote_mnist(web.url, content).load(tmp_path)
    assert [name for name, _ in web.requests] == list(files.MNIST_NAMES[1:])


def test_download_false_never_asks_the_network(tmp_path: Path) -> None:
    content = {name: gzip.compress(body) for name, body in files.mnist_files().items()}
    with server.serving(content) as web, pytest.raises(DataError) as error:
        remote_mnist(web.url, content).load(tmp_path, download=False)
    assert web.requests == []
    assert_one_line(error, str(tmp_path), files.MNIST_NAMES[0])
