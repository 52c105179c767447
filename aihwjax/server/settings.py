"""What an operator can set, and the folder where a composer keeps everything."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from aihwjax.errors import ConfigError

MIB = 1 << 20
"""Bytes of a MiB."""
GIB = 1 << 30
"""Bytes of a GiB."""


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a composer; the same for its server and its workers.

    Raises:
        ConfigError: If a value is not allowed.
    """

    data_dir: Path
    """Folder of the database, artefacts, the secret and the work in progress."""
    database_url: str | None = None
    """SQLAlchemy URL, such as ``postgresql://user@host/name``; ``None``: SQLite in ``data_dir``."""
    artefacts_url: str | None = None
    """fsspec URL of inputs and outputs, such as ``s3://bucket/folder``; ``None``: a folder in ``data_dir``."""
    dataset_root: Path | None = None
    """Folder of data sets; ``None``: the default of the library."""
    workers: int = 1
    """Worker processes that a server starts; each runs one job at a time."""
    executor: Literal["local", "ray"] = "local"
    """Where jobs run: in processes here, or as tasks of a Ray cluster."""
    ray_address: str = "auto"
    """Address of the Ray cluster."""
    lease_seconds: float = 30.0
    """After so many seconds without a word from its worker, a job is given to another one."""
    attempts: int = 3
    """How often a job is started without finishing an epoch before it has failed."""
    link_seconds: int = 900
    """How long a signed link is valid."""
    login_days: int = 400
    """How long a login is valid, if its token is."""
    max_archive_bytes: int = 256 * MIB
    """Most bytes of an uploaded experiment."""
    max_parameter_bytes: int = GIB
    """Most bytes of a model's numbers."""
    max_jobs_per_user: int = 1000
    """Most waiting and running jobs of a user."""
    max_queue: int = 10_000
    """Most waiting jobs in all."""
    max_epochs: int = 10_000
    """Most epochs of a job."""
    max_seconds: float = 7 * 86_400.0
    """Most seconds that a job computes, over all attempts."""
    memory_bytes: int = 16 * GIB
    """Most bytes of memory that a job's process may have resident."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_dir", Path(self.data_dir).expanduser().absolute())
        if self.dataset_root is not None:
            object.__setattr__(self, "dataset_root", Path(self.dataset_root).expanduser().absolute())
        if self.database_url is not None:
            object.__setattr__(self, "database_url", _with_driver(self.database_url))
        if self.executor not in ("local", "ray"):
            raise ConfigError(f"executor={self.executor!r} is not allowed: give 'local' or 'ray'")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value < (0 if field.name == "workers" else 1e-3):
                raise ConfigError(f"{field.name}={value!r} is not allowed: give a number above 0")

    @property
    def database(self) -> str:
        """URL of the database, with its driver."""
        return self.database_url or f"sqlite:///{self.data_dir / 'composer.sqlite'}"

    @property
    def artefacts(self) -> str:
        """URL of the artefacts."""
        return self.artefacts_url or (self.data_dir / "artefacts").as_uri()

    @property
    def work_dir(self) -> Path:
        """Folder of the jobs in progress, one folder a job."""
        return self.data_dir / "work"

    @property
    def compiled_dir(self) -> Path:
        """Folder of compiled programs, which jobs share."""
        return self.data_dir / "compiled"

    def prepare(self) -> None:
        """Make the folders, readable by their owner only.

        Raises:
            ConfigError: If they cannot be made.
        """
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.work_dir.mkdir(mode=0o700, exist_ok=True)
            self.compiled_dir.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"data_dir={str(self.data_dir)!r} cannot be used: {reason}") from None

    def secret(self) -> bytes:
        """Return the key that signs links and logins; made once, kept in ``data_dir``.

        Raises:
            ConfigError: If it can neither be read nor made.
        """
        path = self.data_dir / "secret.key"
        try:
            if not path.exists():
                _write_once(path, secrets.token_hex(32).encode())
            key = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"the secret {str(path)!r} cannot be used: {error.strerror or error}") from None
        if len(key) < 32:
            raise ConfigError(f"the secret {str(path)!r} is too short: remove it to make a new one (logins end)")
        return key

    def to_json(self) -> str:
        """Return the settings as JSON, for a worker process."""
        values = {
            name: str(value) if isinstance(value, Path) else value for name, value in dataclasses.asdict(self).items()
        }
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote."""
        values = json.loads(text)
        for name in ("data_dir", "dataset_root"):
            values[name] = None if values[name] is None else Path(values[name])
        return cls(**values)


def _with_driver(url: str) -> str:
    """Name the driver of PostgreSQL that the extra installs, where none is named."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ConfigError("database is not a URL: give one such as postgresql://user@host/name")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads; of several writers the first one wins."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # mkstemp gives 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)
