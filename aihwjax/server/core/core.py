"""What all parts of the composer's core share."""

from __future__ import annotations

from aihwjax.server.core.signing import Signer
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage.artefacts import Artefacts
from aihwjax.server.storage.store import Store


class Core:
    """The opened database, artefacts and secret of a composer."""

    def __init__(self, settings: ServerSettings) -> None:
        """Open database and artefacts.

        Args:
            settings: What the operator has set.

        Raises:
            AihwjaxError: If something cannot be opened.
        """
        self.settings = settings
        self._store = Store(settings)
        self._artefacts = Artefacts(settings.artefacts)
        self._signer = Signer(settings.secret())

    def close(self) -> None:
        """Close the database."""
        self._store.close()
