"""What a comparison saw: the reference's statistics beside ours, small enough to keep for every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aihwjax import arguments
from aihwjax import config as configs
from aihwjax.config import Config
from aihwjax.fidelity.agreement import QUANTILES, Statistics, Values, Verdict, allowed_deviations, statistics

_TAG, _QUIRKS = "class", "reference_quirks"


@arguments.answering
@dataclass(frozen=True)
class RecordEvidence:
    """One record of a tile case; arrays are flat, in single precision, one entry an element."""

    name: str
    """Name of the record."""
    verdict: Verdict
    """Whether it agrees."""
    mean: Values
    """The reference's means; one number if pooled."""
    std: Values
    """The reference's standard deviations."""
    our_mean: Values
    """Our means."""
    our_std: Values
    """Our standard deviations."""
    allowed_mean: Values
    """How far the means may differ."""
    allowed_std: Values
    """How far the standard deviations may differ."""
    quantiles: Values | None = None
    """The reference's quantiles, if pooled."""
    our_quantiles: Values | None = None
    """Ours."""


@arguments.answering
@dataclass(frozen=True)
class Evidence:
    """What one case showed."""

    config: tuple[str, ...] = ()
    """Where the configuration differs from the defaults, one line a field."""
    records: tuple[RecordEvidence, ...] = ()
    """Records of a tile case, in the order in which they are taken."""
    runs: tuple[tuple[str, Values, Values], ...] = ()
    """Of a training case: metric, the reference's runs and ours, each ``(seed, epoch)``."""


def record_evidence(
    name: str, verdict: Verdict, reference: Statistics, samples: Values, pooled: bool
) -> RecordEvidence:
    """Reduce the samples of a record to what a report shows.

    Args:
        name: Name of the record.
        verdict: What came out of the comparison.
        reference: The reference's statistics.
        samples: Ours, ``(n, ...)``.
        pooled: Whether the record is pooled over crosspoints.
    """
    ours = statistics(samples)
    allowed = allowed_deviations(reference, ours, pooled)
    theirs = mine = None
    if reference.quantiles is not None:
        theirs = np.asarray(reference.quantiles, np.float32)
        mine = np.quantile(samples, QUANTILES).astype(np.float32)
    return RecordEvidence(
        name=name,
        verdict=verdict,
        mean=_flat(reference.mean),
        std=_flat(reference.std),
        our_mean=_flat(ours.mean),
        our_std=_flat(ours.std),
        allowed_mean=_flat(allowed[0]),
        allowed_std=_flat(allowed[1]),
        quantiles=theirs,
        our_quantiles=mine,
    )


def _flat(values: Values) -> Values:
    return np.asarray(values, np.float32).reshape(-1)


def differences(config: Config) -> tuple[str, ...]:
    """Return one line for each field that has another value than its class gives it by default.

    Args:
        config: A configuration.
    """
    document = configs.to_dict(config)
    return tuple(_differences(document, configs.default_dict(type(config)), ""))


def _differences(document: Mapping[str, Any], default: Mapping[str, Any], path: str) -> list[str]:
    lines = []
    for name, value in document.items():
        where = f"{path}.{name}" if path else name
        if name == _TAG or (name == _QUIRKS and path):  # a part has what the tile says
            continue
        if isinstance(value, Mapping):
            lines += _part(value, default.get(name), where)
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            for number, entry in enumerate(value):
                lines += _part(entry, None, f"{where}[{number}]")
        elif value != default.get(name):
            lines.append(f"{where} = {value}")
    return lines


def _part(document: Mapping[str, Any], default: Any, path: str) -> list[str]:
    """Return the lines of a part, led by its class if that is not the default one."""
    name = document[_TAG]
    own = default if isinstance(default, Mapping) and default[_TAG] == name else None
    lines = _differences(document, own or configs.default_dict(configs.registered(name)), path)
    return lines if own is not None else [f"{path}: {name}", *lines]
