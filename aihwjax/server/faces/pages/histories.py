"""What happened to experiments so far, kept so that a page that is looked at often reads only what is new."""

from __future__ import annotations

import json
import tarfile
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, cast

from aihwjax.errors import AihwjaxError
from aihwjax.scores import NETWORK, OVER_TIME, STANDARD
from aihwjax.server.core.service import Composer
from aihwjax.server.views import ExperimentView, Identity

SHOWN_LINES = 500
"""Lines of the log on a page."""
_KEPT = 32
_AT_ONCE = 2000
_DOCUMENT = "experiment.json"
_MOST_DOCUMENT = 1 << 19  # bytes; nobody reads a longer one on a page


class AtTime(NamedTuple):
    """Scores of a chip at one time; ``None`` for what is not finite or not there."""

    time: float
    """Seconds after programming."""
    accuracy: float | None
    """As a fraction."""
    loss: float | None


class Network(NamedTuple):
    """A network of a sweep."""

    number: int
    """Of its configuration."""
    seed: int
    values: dict[str, Any]
    """Its configuration by path, as numbers or texts."""
    diverged: bool
    """Whether it ended because its numbers were no longer finite."""


class Epoch(NamedTuple):
    """Metrics of an epoch, of a chip at its last time, or of a network after its last; ``None`` if not finite."""

    epoch: int
    accuracy: float | None
    train_loss: float | None
    valid_loss: float | None
    time_epoch: float | None
    classes: bool = True
    """Whether there is an accuracy; a regression has none."""
    own: tuple[tuple[str, float | None], ...] = ()
    """Further metrics by name."""
    over_time: tuple[AtTime, ...] = ()
    """Of a chip: a row for each time."""
    network: Network | None = None
    """Which one, in a sweep."""

    def value(self, name: str) -> float | None:
        """Return a further metric; ``None`` if it is not finite, or missing.

        Args:
            name: Its name.
        """
        return dict(self.own).get(name)

    def entries(self) -> dict[str, Any]:
        """Return the metrics by name, as the API tells them."""
        values: dict[str, Any] = {"epoch": self.epoch, "accuracy": self.accuracy, "train_loss": self.train_loss}
        values |= {"valid_loss": self.valid_loss, **dict(self.own), "time_epoch": self.time_epoch}
        if not self.classes:
            del values["accuracy"]
        if self.over_time:
            del values["train_loss"]
            values[OVER_TIME] = [row._asdict() for row in self.over_time]
        if self.network is not None:
            found = self.network
            network = {"index": found.number, "seed": found.seed, "values": found.values, "diverged": found.diverged}
            values[NETWORK] = network
        return values


class History(NamedTuple):
    """What is known of an experiment."""

    epochs: list[Epoch]
    lines: list[str]
    """The last ones of the log."""
    line_count: int
    cursor: int
    """Id of the last event."""


class Histories:
    """The histories of the experiments that were looked at last."""

    def __init__(self) -> None:
        """Start without any."""
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, core: Composer, who: Identity, experiment_id: str) -> History:
        """Return the history of an experiment.

        Args:
            core: The core.
            who: Who asks.
            experiment_id: The whole id.

        Raises:
            ServiceError: 404, also if it is another's.
        """
        return self._find(experiment_id).read(core, who, experiment_id)

    def document(self, core: Composer, who: Identity, view: ExperimentView) -> dict[str, Any] | None:
        """Return the document of a submitted experiment, ``None`` if it cannot be shown.

        Args:
            core: The core.
            who: Who asks.
            view: The experiment.
        """
        if view.job_id is None or view.summary is None:  # not checked
            return None
        kept = self._find(view.id)
        if not kept.has_document:  # it can change no more
            kept.document, kept.has_document = _document(core, who, view.id), True
        return kept.document

    def _find(self, experiment_id: str) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(experiment_id, _Kept())
            self._kept.move_to_end(experiment_id)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept


def log_lines(core: Composer, who: Identity, experiment_id: str) -> Iterator[str]:
    """Yield all lines of an experiment's log.

    Args:
        core: The core.
        who: Who asks.
        experiment_id: Its id.
    """
    cursor = 0
    while found := core.events(who, experiment_id, after=cursor, limit=_AT_ONCE):
        cursor = found[-1].id
        yield from (str(event.data.get("text", "")) for event in found if event.kind == "log")


class _Kept:
    """One history; what is there can change no more, so only what follows is read."""

    def __init__(self) -> None:
        self.document: dict[str, Any] | None = None
        self.has_document = False
        self._epochs: list[Epoch] = []
        self._lines: deque[str] = deque(maxlen=SHOWN_LINES)
        self._count = 0
        self._cursor = 0
        self._lock = threading.Lock()

    def read(self, core: Composer, who: Identity, experiment_id: str) -> History:
        with self._lock:
            while True:
                found = core.events(who, experiment_id, after=self._cursor, limit=_AT_ONCE)
                for event in found:
                    if event.kind == "epoch":
                        self._epochs.append(_epoch(event.data, len(self._epochs)))
                    elif event.kind == "log":
                        self._lines.append(str(event.data.get("text", "")))
                        self._count += 1
                    self._cursor = event.id
                if len(found) < _AT_ONCE:
                    return History(list(self._epochs), list(self._lines), self._count, self._cursor)


def _epoch(data: dict[str, Any], position: int) -> Epoch:
    number = data.get("epoch", position)
    accuracy, train, valid, time = (_number(data.get(name)) for name in STANDARD[1:])
    own = tuple((name, _number(value)) for name, value in data.items() if name not in (*STANDARD, OVER_TIME, NETWORK))
    over_time = data.get(OVER_TIME)
    chip = tuple(_at_time(row) for row in over_time) if isinstance(over_time, list) else ()
    network = _network(data[NETWORK]) if NETWORK in data else None
    return Epoch(int(number), accuracy, train, valid, time, "accuracy" in data, own, chip, network)


def _network(data: dict[str, Any]) -> Network:
    return Network(int(data["index"]), int(data["seed"]), data["values"], bool(data["rows"][-1]["diverged"]))


def _at_time(row: Any) -> AtTime:
    accuracy = _number(row.get("accuracy"))
    return AtTime(float(row["time"]), None if accuracy is None else accuracy / 100, _number(row.get("loss")))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _document(core: Composer, who: Identity, experiment_id: str) -> dict[str, Any] | None:
    """Read the start of the archive, where the document is; whoever wrote it otherwise shows none."""
    try:
        found = core.open_artefact(who, experiment_id, "input")
        with tarfile.open(fileobj=cast(IO[bytes], _Reader(found.chunks)), mode="r|") as tar:
            member = tar.next()
            if member is None or member.name != _DOCUMENT or member.size > _MOST_DOCUMENT:
                return None
            content = tar.extractfile(member)
            document = json.loads(content.read()) if content is not None else None
    except (AihwjaxError, tarfile.TarError, OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


class _Reader:
    """Bytes that come in pieces, as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, count: int) -> bytes:
        while len(self._rest) < count and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken
