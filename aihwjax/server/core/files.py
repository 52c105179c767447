"""The part of the core that stores and hands out files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import IO, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from aihwjax.server.core import experiments
from aihwjax.server.core.core import Core
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import MIB
from aihwjax.server.storage.tables import Artefact, Experiment, Job
from aihwjax.server.views import ArtefactView, Identity

_KINDS = ("input", "payload", "output")
_MOST_PAYLOAD = MIB
_BLOCK = 1 << 20


class OpenFile(NamedTuple):
    """A stored file that is being read."""

    chunks: Iterator[bytes]
    size: int
    """Bytes."""
    sha256: str


class Files(Core):
    """Files of experiments, behind links that allow one thing for a while."""

    def upload_url(self, identity: Identity, experiment_id: str, kind: str = "input") -> str:
        """Return path and query to which an experiment's file is put.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            kind: ``input``, or ``payload`` for the wire protocol's own form of it.

        Raises:
            ServiceError: 404.
        """
        if kind not in ("input", "payload"):
            raise ServiceError(404, "not_found", "there is no such file")
        limit = identity.limits.max_archive_bytes if kind == "input" else _MOST_PAYLOAD
        with self._store.reading() as session:
            row = experiments.find(session, identity, experiment_id)
            return self._signer.sign(f"/files/{row.id}-{kind}", "PUT", self.settings.link_seconds, limit=limit)

    def receive(
        self, artefact_id: str, query: Mapping[str, str], chunks: Iterable[bytes], length: int | None = None
    ) -> ArtefactView:
        """Store what is put to a signed link; what is cut off leaves nothing.

        Args:
            artefact_id: From the path.
            query: Of the request.
            chunks: Its body.
            length: Bytes that it announces, if it does.

        Raises:
            ServiceError: 403 for the link; 413, 400 or 422 for the body; 409 once the experiment
                was submitted (unless the same is sent again); 507 if the disk is full.
        """
        self._signer.check(f"/files/{artefact_id}", "PUT", query)
        experiment_id, _, kind = artefact_id.partition("-")
        limit = int(query["limit"])
        if length is not None and length > limit:
            raise ServiceError(413, "too_large", f"the file is too large: at most {limit} bytes are allowed")
        with self._store.reading() as session:
            row = session.get(Experiment, experiment_id)
            if row is None:
                raise ServiceError(404, "not_found", "there is no such experiment")
            announced = (row.size, row.sha256) if kind == "input" else (None, None)
        size, sha256 = announced
        return self._keep(experiment_id, kind, chunks, limit, length if size is None else size, sha256)

    def store_archive(self, identity: Identity, experiment_id: str, file: IO[bytes]) -> ArtefactView:
        """Store an archive that the server made itself as the input of an experiment.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            file: The archive, read from where it stands.

        Raises:
            ServiceError: As :meth:`receive`.
        """
        with self._store.reading() as session:
            row = experiments.find(session, identity, experiment_id)
        chunks = iter(lambda: file.read(_BLOCK), b"")
        return self._keep(row.id, "input", chunks, identity.limits.max_archive_bytes, None, None)

    def artefact(self, identity: Identity, experiment_id: str, kind: str) -> ArtefactView:
        """Return what is known of an experiment's file.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            kind: ``input``, ``payload`` or ``output``.

        Raises:
            ServiceError: 404 if it is not there.
        """
        with self._store.reading() as session:
            return _view(self._find_artefact(session, identity, experiment_id, kind))

    def download_url(self, identity: Identity, experiment_id: str, kind: str) -> str:
        """Return path and query from which an experiment's file is got.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            kind: ``input``, ``payload`` or ``output``.

        Raises:
            ServiceError: 404 if it is not there.
        """
        found = self.artefact(identity, experiment_id, kind)
        return self._signer.sign(f"/files/{found.id}", "GET", self.settings.link_seconds)

    def open_file(self, artefact_id: str, query: Mapping[str, str]) -> OpenFile:
        """Open the file of a signed link.

        Args:
            artefact_id: From the path.
            query: Of the request.

        Raises:
            ServiceError: 403 for the link, 404 or 410 if the file is not there.
        """
        self._signer.check(f"/files/{artefact_id}", "GET", query)
        experiment_id, _, kind = artefact_id.partition("-")
        with self._store.reading() as session:
            found = experiments.artefact(session, experiment_id, kind)
            if found is None:
                raise ServiceError(404, "not_found", "there is no such file")
            return self._opened(found)

    def open_artefact(self, identity: Identity, experiment_id: str, kind: str) -> OpenFile:
        """Open an experiment's file.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            kind: ``input``, ``payload`` or ``output``.

        Raises:
            ServiceError: 404 or 410 if it is not there.
        """
        with self._store.reading() as session:
            return self._opened(self._find_artefact(session, identity, experiment_id, kind))

    def read_artefact(self, identity: Identity, experiment_id: str, kind: str) -> bytes:
        """Return the content of an experiment's file, which has to be a small one; as :meth:`open_artefact`.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            kind: ``input``, ``payload`` or ``output``.
        """
        return b"".join(self.open_artefact(identity, experiment_id, kind).chunks)

    def sign(self, path: str, method: str = "GET") -> str:
        """Return a path with a query that allows a method on it for a while.

        Args:
            path: Path from the root.
            method: HTTP method.
        """
        return self._signer.sign(path, method, self.settings.link_seconds)

    def check_signature(self, path: str, method: str, query: Mapping[str, str]) -> None:
        """Refuse a request that :meth:`sign` did not allow.

        Args:
            path: Its path.
            method: Its method.
            query: Its query.

        Raises:
            ServiceError: 403.
        """
        self._signer.check(path, method, query)

    def _opened(self, row: Artefact) -> OpenFile:
        return OpenFile(self._artefacts.chunks(row.path), row.size, row.sha256)

    def _find_artefact(self, session: Session, identity: Identity, experiment_id: str, kind: str) -> Artefact:
        row = experiments.find(session, identity, experiment_id)
        found = experiments.artefact(session, row.id, kind) if kind in _KINDS else None
        if found is None:
            raise ServiceError(404, "not_found", f"the experiment has no {kind if kind in _KINDS else 'such file'}")
        return found

    def _keep(
        self, experiment_id: str, kind: str, chunks: Iterable[bytes], limit: int, size: int | None, sha256: str | None
    ) -> ArtefactView:
        """Write a file, then its row; what the row pointed to before, or the file, is removed."""
        stored = self._artefacts.write(f"{experiment_id}-{kind}", chunks, limit, size=size, sha256=sha256)
        try:
            with self._store.writing() as session:
                session.execute(select(Experiment.id).where(Experiment.id == experiment_id).with_for_update())
                row = experiments.artefact(session, experiment_id, kind)
                if row is not None and row.sha256 == stored.sha256:  # sent again
                    outdated: str | None = stored.path
                elif session.get(Job, experiment_id) is not None:
                    raise ServiceError(409, "submitted", "the experiment was submitted: its files cannot be changed")
                else:
                    outdated = None if row is None else row.path
                    row = row or Artefact(experiment_id=experiment_id, kind=kind)
                    row.path, row.sha256, row.size = stored
                    session.add(row)
                view = _view(row)
        except ServiceError as error:
            if error.status != 503:  # else it may be committed all the same; what is not is swept up later
                self._artefacts.remove(stored.path)
            raise
        if outdated is not None:
            self._artefacts.remove(outdated)
        return view


def _view(row: Artefact) -> ArtefactView:
    return ArtefactView(f"{row.experiment_id}-{row.kind}", row.kind, row.sha256, row.size)
