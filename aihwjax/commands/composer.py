"""``aihwjax composer``: a server that runs experiments for a group, its tokens and its workers."""

from __future__ import annotations

import contextlib
import json as json_module
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators
from cyclopts.types import NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from aihwjax.server.core.service import Composer
    from aihwjax.server.settings import ServerSettings

app = App(name="composer", help="Run experiments for a group: a server, its tokens and its workers.")
token = App(name="token", help="Make, list and revoke the tokens by which users sign in.")
app.command(token)

_PLAIN = Parameter(negative=())
_Positive = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1e9))]
"""A number above 0 that is finite, in whatever unit."""
_GIB = 1 << 30
_MIB = 1 << 20


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """Where a composer keeps its things."""

    data_dir: Annotated[Path | None, Parameter(env_var="AIHWJAX_COMPOSER_DATA_DIR")] = None
    """Folder of database, files and secret; by default one in the user's data folder."""
    database: Annotated[str | None, Parameter(env_var="AIHWJAX_COMPOSER_DATABASE")] = None
    """URL of a PostgreSQL database; by default SQLite in the data folder."""
    artefacts: Annotated[str | None, Parameter(env_var="AIHWJAX_COMPOSER_ARTEFACTS")] = None
    """URL of stored files, such as s3://bucket/folder; by default a folder in the data folder."""


@Parameter(name="*")
@dataclass(frozen=True)
class Work:
    """How jobs are run."""

    dataset_root: Annotated[Path | None, Parameter(env_var="AIHWJAX_DATA_DIR")] = None
    """Folder of data sets in their usual layouts."""
    executor: Literal["local", "ray"] = "local"
    """Run jobs as processes here, or as tasks of a Ray cluster."""
    ray_address: str = "auto"
    """Address of the Ray cluster."""
    attempts: PositiveInt = 3
    """How often a job is started without finishing an epoch before it has failed."""
    lease: _Positive = 30.0
    """Seconds without a word from its worker after which a job is given to another."""
    memory: _Positive = 16.0
    """Most GiB of memory of a job."""


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: NonNegativeInt = 1,
    place: Place = Place(),
    work: Work = Work(),
    max_jobs: PositiveInt = 1000,
    max_queue: PositiveInt = 10_000,
    max_upload: _Positive = 256.0,
    max_parameters: _Positive = 1024.0,
    max_hours: _Positive = 168.0,
) -> None:
    """Run a composer: its interface for programs, its pages, and workers for its jobs.

    Args:
        host: Address to listen on; 0.0.0.0 for all, behind a proxy that speaks HTTPS.
        port: Port to listen on; 0 for any that is free.
        workers: Worker processes, each for one job at a time; 0 if they run elsewhere.
        place: Where it keeps its things.
        work: How jobs are run.
        max_jobs: Most waiting and running jobs of a user.
        max_queue: Most waiting jobs in all.
        max_upload: Most MiB of an uploaded experiment.
        max_parameters: Most MiB of a model's numbers.
        max_hours: Most hours that a job computes.
    """
    settings = _settings(
        place,
        work,
        workers=workers,
        max_jobs_per_user=max_jobs,
        max_queue=max_queue,
        max_archive_bytes=int(max_upload * _MIB),
        max_parameter_bytes=int(max_parameters * _MIB),
        max_seconds=max_hours * 3600,
    )
    from aihwjax.server.serving import listen, run

    with listen(host, port) as socket:
        address = f"http://{host}:{socket.getsockname()[1]}/"
        _greet(settings, address, new=not _composer_has_tokens(settings))
        run(settings, socket)


@app.command
def worker(*, place: Place = Place(), work: Work = Work()) -> None:
    """Run a worker for the jobs of a composer that may be on another machine.

    It needs the composer's database and files: give --database and --artefacts, unless the data
    folder is shared.

    Args:
        place: Where the composer keeps its things.
        work: How jobs are run.
    """
    if place.database is None:
        _holding(place)  # else a worker for a folder that was mistyped would wait for ever
    settings = _settings(place, work)
    from aihwjax.server.workers.worker import run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run(settings, threading.Event())


@token.command
def create(
    user: str,
    /,
    *,
    place: Place = Place(),
    scope: Literal["user", "admin", "worker"] = "user",
    days: _Positive | None = None,
    max_jobs: PositiveInt | None = None,
    max_upload: _Positive | None = None,
    max_hours: _Positive | None = None,
    json: Annotated[bool, _PLAIN] = False,
) -> None:
    """Make a token for a user and print it; it cannot be had again. Works while the server runs.

    Args:
        user: Name of the user, who is made if new.
        place: Where the composer keeps its things.
        scope: What it may do: the user's own experiments, or everyone's.
        days: How long it is valid; by default until it is revoked.
        max_jobs: Most waiting and running jobs.
        max_upload: Most MiB of an uploaded experiment.
        max_hours: Most hours that a job computes.
        json: Print JSON.
    """
    limits: dict[str, float | None] = {
        "max_jobs": max_jobs,
        "max_archive_bytes": None if max_upload is None else int(max_upload * _MIB),
        "max_seconds": None if max_hours is None else max_hours * 3600,
    }
    given = {name: value for name, value in limits.items() if value is not None}
    composer = _composer(_existing(place))
    text = composer.create_token(user, scope, days, given)
    composer.close()
    print(json_module.dumps({"user": user, "scope": scope, "token": text}) if json else text)


@token.command(name="list")
def list_(*, place: Place = Place(), json: Annotated[bool, _PLAIN] = False) -> None:
    """List the tokens, without their secret parts.

    Args:
        place: Where the composer keeps its things.
        json: Print JSON.
    """
    composer = _composer(_holding(place))
    found = composer.list_tokens()
    composer.close()
    rows = [
        {
            "token": entry.prefix,
            "user": entry.user,
            "scope": entry.scope,
            "created": _date(entry.created_at),
            "expires": _date(entry.expires_at),
            "revoked": _date(entry.revoked_at),
        }
        for entry in found
    ]
    if json:
        print(json_module.dumps(rows))
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("token", "user", "scope", "created", "expires", "revoked"):
        table.add_column(column, no_wrap=column == "token")
    for row in rows:
        table.add_row(*(escape(value or "") for value in row.values()))
    Console().print(table)


@token.command
def revoke(start: str, /, *, place: Place = Place()) -> None:
    """End a token and everything that was signed in with it; running jobs go on.

    Args:
        start: The token as it is listed.
        place: Where the composer keeps its things.
    """
    composer = _composer(_holding(place))
    try:
        print(f"revoked {composer.revoke_token(start)}")
    finally:
        composer.close()


def _settings(place: Place, work: Work | None = None, **more: object) -> ServerSettings:
    import platformdirs

    from aihwjax.server.settings import ServerSettings

    fields: dict[str, object] = {
        "data_dir": place.data_dir or Path(platformdirs.user_data_dir("aihwjax")) / "composer",
        "database_url": place.database,
        "artefacts_url": place.artefacts,
    }
    if work is not None:
        fields |= {
            "dataset_root": work.dataset_root,
            "executor": work.executor,
            "ray_address": work.ray_address,
            "attempts": work.attempts,
            "lease_seconds": work.lease,
            "memory_bytes": int(work.memory * _GIB),
        }
    return ServerSettings(**fields, **more)  # type: ignore[arg-type]


def _existing(place: Place) -> ServerSettings:
    """Return the settings of a composer in a folder that is there: one that was mistyped is not made."""
    settings = _settings(place)
    if place.database is None and not settings.data_dir.is_dir():
        from aihwjax.errors import ConfigError

        raise ConfigError(
            f"--data-dir={str(settings.data_dir)!r} is no folder: give that of a composer, "
            "which `aihwjax composer serve` makes"
        )
    return settings


def _holding(place: Place) -> ServerSettings:
    """Return the settings of a composer that has started before: who only looks makes no new one."""
    settings = _existing(place)
    with _extra():
        from aihwjax.server.storage.store import is_there
    if not is_there(settings):
        from aihwjax.errors import ConfigError

        where = "--database" if place.database else f"--data-dir={str(settings.data_dir)!r}"
        raise ConfigError(f"{where} has no composer: give that of one, which `aihwjax composer serve` makes")
    return settings


def _composer(settings: ServerSettings) -> Composer:
    with _extra():
        from aihwjax.server.core.service import Composer
    return Composer(settings)


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Name the extra where a package of it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).startswith("aihwjax"):
            raise
        from aihwjax.errors import MissingExtraError

        raise MissingExtraError(f"the composer needs {error.name!r}: pip install 'aihwjax[composer]'") from None


def _composer_has_tokens(settings: ServerSettings) -> bool:
    composer = _composer(settings)
    try:
        return bool(composer.list_tokens())
    finally:
        composer.close()


def _greet(settings: ServerSettings, address: str, *, new: bool) -> None:
    """Say where it is and what to do next."""
    jobs = f"{settings.workers} worker{'' if settings.workers == 1 else 's'}"
    print(f"Composer at {address} with {jobs}; it keeps its things in {settings.data_dir}")
    if new:
        print("Next, in another terminal:")
        same = " --database ..." if settings.database_url else ""
        print(f"  aihwjax composer token create NAME --data-dir {settings.data_dir}{same}")
        print(f"  export AIHWJAX_API_URL={address} AIHWJAX_API_TOKEN=...   # on the user's machine")
        print("  aihwjax cloud submit EXPERIMENT.toml --wait")
    print(f"Pages at {address}ui; stop with Ctrl+C, jobs go on where they were at the next start.", flush=True)


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
