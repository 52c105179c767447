"""The process of a job: ``python -m aihwjax.server.workers.job FOLDER``.

It reads ``input.tar`` in the folder, trains with checkpoints, programs chips or runs a sweep, writes the metrics of
each epoch, chip or network to ``metrics.jsonl`` and in the end ``output`` (an archive, of a sweep its table), or
``error.json`` with the reason why not. Started again in the same folder it goes on where it was. Exit codes: 0 done, 1
failed with ``error.json``, 75 if another process still works in the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from aihwjax.errors import AihwjaxError, ArchiveError, CheckpointError, CloudError
from aihwjax.scores import scores

if TYPE_CHECKING:
    from flax import nnx

    from aihwjax.cloud.document import Described
    from aihwjax.experiments.metrics import EpochMetrics, Report

INPUT, OUTPUT, METRICS, ERROR = "input.tar", "output", "metrics.jsonl", "error.json"
"""Names of the files in the folder."""
BUSY = 75
"""Exit code if another process still works in the folder."""
_LOCK_SECONDS = 30.0
_ORPHANED = 70
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main(folder: Path, dataset_root: Path | None) -> int:
    """Run the job of a folder and return the exit code.

    Args:
        folder: Folder of the job.
        dataset_root: Folder of data sets.
    """
    try:
        with FileLock(folder / "lock", timeout=_LOCK_SECONDS):
            if (folder / OUTPUT).exists():  # the worker was lost before it could hand it in
                return 0
            (folder / ERROR).unlink(missing_ok=True)
            return _guarded(folder, dataset_root)
    except Timeout:
        print("another process still works on this job")
        return BUSY


def die_with_parent() -> None:
    """End this process when the one that started it ends, however that happens.

    The standard input, a pipe that nobody writes to, closes then; on Linux the kernel kills too.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os._exit(_ORPHANED)


def _guarded(folder: Path, dataset_root: Path | None) -> int:
    """Run, and put into words what goes wrong; ``final``: it would go wrong again."""
    try:
        _run(folder, dataset_root)
        return 0
    except MemoryError:
        message, final = "out of memory", True
    except AihwjaxError as error:  # what the disk refuses may work later, or elsewhere
        disk = isinstance(error, CheckpointError | CloudError) and not isinstance(error, ArchiveError)
        message, final = str(error), not disk
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        final = not full and "RESOURCE_EXHAUSTED" in message
    message = " ".join(message.split())[:1000]
    print(f"failed: {message}", flush=True)
    from aihwjax.experiments.metrics import write_text

    write_text(folder / ERROR, json.dumps({"message": message, "final": final}))
    return 1


def _run(folder: Path, dataset_root: Path | None) -> None:
    from aihwjax.cloud import archive
    from aihwjax.experiments import BasicInferencing

    described = archive.read(folder / INPUT)
    if described.sweep is not None:
        from aihwjax.server.workers import swept

        files = folder / METRICS, folder / OUTPUT
        swept.run(folder, dataset_root, described, described.sweep, _entries(folder), files)
        return
    (_infer if isinstance(described.experiment, BasicInferencing) else _train)(folder, dataset_root, described)


def _infer(folder: Path, dataset_root: Path | None, described: Described) -> None:
    """Evaluate the chips that are not done yet; a chip is the same whoever computes it."""
    from aihwjax.chip_results import InferenceResult, chip_entry, rows_of
    from aihwjax.cloud import archive
    from aihwjax.experiments import infer, load_examples
    from aihwjax.experiments.metrics import write_text

    experiment: Any = described.experiment
    entries = _entries(folder)
    started, count = time.monotonic(), len(experiment.times)
    if entries:
        print(f"going on after chip {entries[-1]['epoch']}", flush=True)

    def tell(found: InferenceResult) -> None:
        nonlocal started
        now = time.monotonic()
        entries.append(chip_entry(found["chips"][-count:], now - started))
        started = now
        write_text(folder / METRICS, "".join(json.dumps(entry) + "\n" for entry in entries))
        last = entries[-1]
        seconds = found["chips"][-1]["time"]
        print(
            f"chip {last['epoch']}: after {seconds:.5g} s loss {last['valid_loss']:.6g}, "
            f"{''.join(f'{score}, ' for score in scores(last))}{last['time_epoch']:.2f} s",
            flush=True,
        )

    data = load_examples(experiment, dataset_root, described.max_elements_train)
    infer(experiment, data, described.key, known=rows_of(entries), reports=[tell], progress=False)
    archive.write_result(folder / OUTPUT, described.document, experiment.model, entries)


def _entries(folder: Path) -> list[dict[str, Any]]:
    """Return what was written of the chips or networks that are done, of whole lines."""
    try:
        text = (folder / METRICS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    entries: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError):
        for line in text[: text.rfind("\n") + 1].splitlines():
            entries.append(json.loads(line))
    return entries


def _train(folder: Path, dataset_root: Path | None, described: Described) -> None:
    from aihwjax.cloud import archive
    from aihwjax.experiments import MetricsFile, fit, load_best, load_data
    from aihwjax.experiments.best import has_best
    from aihwjax.experiments.metrics import write_text

    experiment: Any = described.experiment
    splits = load_data(experiment, dataset_root, described.max_elements_train)
    shown = _Lines()
    reports: list[Report] = [MetricsFile(folder / METRICS), shown]
    checkpoints = folder / "checkpoints"

    def train() -> tuple[nnx.Module, list[EpochMetrics]]:
        return fit(
            experiment,
            splits,
            described.key,
            reports=reports,
            checkpoint_dir=checkpoints,
            keep_best=described.keep_best,
            best=described.best,
        )

    try:
        model, metrics = train()
    except CheckpointError as error:
        if shown.count:  # they could be read, so the disk is full or gone
            raise
        print(f"starting anew: {error}", flush=True)
        shutil.rmtree(checkpoints)
        model, metrics = train()
    write_text(folder / METRICS, "".join(json.dumps(entry) + "\n" for entry in metrics))  # outlasts a loss of power
    kept = load_best(checkpoints, experiment.model) if has_best(checkpoints) else None
    archive.write_result(folder / OUTPUT, described.document, model, metrics, kept)


class _Lines:
    """A report of one line an epoch in the log."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, metrics: list[EpochMetrics]) -> None:
        last = metrics[-1]
        if self.count == 0 and len(metrics) > 1:
            print(f"going on after epoch {last['epoch']}", flush=True)
        else:
            print(
                f"epoch {last['epoch']}: training loss {last['train_loss']:.6g}, "
                f"validation loss {last['valid_loss']:.6g}, {''.join(f'{score}, ' for score in scores(last))}"
                f"{last['time_epoch']:.2f} s",
                flush=True,
            )
        self.count += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the job of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset-root", type=Path)
    options = parser.parse_args()
    die_with_parent()
    sys.exit(main(options.folder, options.dataset_root))
