"""A composer as its users run it: the command in a process of its own, with workers and a data set."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aihwjax.experiments.data import MNIST10K

_COMMAND = [sys.executable, "-c", "from aihwjax.cli import main; main()", "composer"]
_ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "NPROC": "1", "OMP_NUM_THREADS": "1"}
_START_SECONDS = 60


class Live:
    """A running composer."""

    def __init__(self, url: str, data_dir: Path, log: Path) -> None:
        self.url = url
        self.data_dir = data_dir
        self._log = log

    def token(self, user: str = "ann") -> str:
        """Return a new token, made while the server runs."""
        command = [*_COMMAND, "token", "create", user, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=_environment())
        return done.stdout.split()[-1]

    def log(self) -> str:
        """Return all that the server and its workers have printed."""
        return self._log.read_text(encoding="utf-8")


@contextlib.contextmanager
def live(folder: Path, dataset_root: Path, workers: int = 1) -> Iterator[Live]:
    """Run a composer on a free port, and end it."""
    data_dir, log = folder / "data", folder / "server.log"
    options = ["--port", "0", "--data-dir", str(data_dir), "--dataset-root", str(dataset_root)]
    command = [*_COMMAND, "serve", *options, "--workers", str(workers)]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=_environment()) as process,
    ):
        try:
            yield Live(_address(process, log), data_dir, log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def fashion(root: Path, train: int = 320, valid: int = 80) -> Path:
    """Write real digits in FashionMNIST's layout: four files, as an operator would provide them."""
    splits = MNIST10K.load()
    images, labels = np.asarray(splits.train_x), np.asarray(splits.train_y)
    low, high = images.min(), images.max()
    pixels = np.rint((images - low) / (high - low) * 255).astype(np.uint8).reshape(-1, 28, 28)
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, part in [("train", slice(0, train)), ("t10k", slice(train, train + valid))]:
        _write_idx(folder / f"{name}-images-idx3-ubyte", pixels[part])
        _write_idx(folder / f"{name}-labels-idx1-ubyte", labels[part].astype(np.uint8))
    return root


def _write_idx(path: Path, array: np.ndarray) -> None:
    sizes = np.array(array.shape, ">u4").tobytes()
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server answers, and return where."""
    import re

    import requests

    pause = threading.Event()
    for _ in range(_START_SECONDS * 10):
        text = log.read_text(encoding="utf-8")
        assert process.poll() is None, text
        found = re.search(r"http://[0-9.]+:(\d+)", text)
        if found:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{found[0]}/api/v1/health", timeout=5).ok:
                    return found[0]
        pause.wait(0.1)
    raise AssertionError(f"the server did not start: {log.read_text(encoding='utf-8')}")


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIHW")}
    return {**inherited, **_ENVIRONMENT, "COLUMNS": "200"}
