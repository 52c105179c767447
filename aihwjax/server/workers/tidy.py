"""Removing what killed processes have left behind."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from sqlalchemy import select

from aihwjax.server.settings import GIB, ServerSettings
from aihwjax.server.storage.artefacts import Artefacts
from aihwjax.server.storage.store import Store
from aihwjax.server.storage.tables import Artefact, Job
from aihwjax.server.views import Status

_OLD = 86_400.0
_MOST_COMPILED = 2 * GIB


def tidy(settings: ServerSettings, store: Store, artefacts: Artefacts) -> None:
    """Remove folders of ended jobs, files that no row names, and programs that were compiled long ago.

    Args:
        settings: Name the folders.
        store: Database.
        artefacts: Where files are stored.

    Raises:
        ServiceError: If the database is out of reach.
    """
    _tidy_work(settings, store)
    _tidy_compiled(settings)
    with store.reading() as session:
        known = set(session.scalars(select(Artefact.path)))
    artefacts.sweep(known, _OLD)


def _tidy_work(settings: ServerSettings, store: Store) -> None:
    folders = {path.name: path for path in settings.work_dir.iterdir()}
    with store.reading() as session:
        open_jobs = select(Job.id).where(Job.status.in_((Status.WAITING, Status.RUNNING)))
        kept = set(session.scalars(open_jobs))
    for name, path in folders.items():
        job = re.fullmatch(r"[0-9a-f]{32}", name)
        if (job and name not in kept) or (not job and _age(path) > _OLD):
            shutil.rmtree(path, ignore_errors=True)


def _tidy_compiled(settings: ServerSettings) -> None:
    """Keep the youngest programs, up to a size."""
    total = 0
    files = [path for path in settings.compiled_dir.iterdir() if path.is_file()]
    for path in sorted(files, key=_age):
        try:
            total += path.stat().st_size
            if total > _MOST_COMPILED:
                path.unlink()
        except OSError:  # someone else removed it
            continue


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
