"""The three steps of a submission: make an experiment, send its archive, put it into the queue."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from pathlib import Path
from typing import Any

from aihwjax.cloud.experiment import CloudExperiment
from aihwjax.cloud.session import Session
from aihwjax.errors import ApiResponseError, CloudError, ResponseError

_UPLOADS = 3


def submit(session: Session, path: Path, name: str, device: str, further: dict[str, str]) -> CloudExperiment:
    """Create, upload and submit; each step may be repeated, and the job is made once.

    Args:
        session: Connection to the composer.
        path: The archive.
        name: For people.
        device: Kind of device to ask for.
        further: Fields of the new experiment besides.

    Raises:
        CloudError: If the composer cannot be reached or refuses; says why.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    wanted: dict[str, Any] = {
        "name": name,
        "submission": uuid.uuid4().hex,
        "sha256": sha256,
        "size": path.stat().st_size,
        **further,
    }
    for left in reversed(range(_UPLOADS)):
        created = session.post("experiments", wanted)
        upload = created.get("upload")
        if upload is None:  # it is there already
            break
        try:
            session.upload(str(upload.get("url")), path)
            break
        except ResponseError as error:  # cut off, or the link was too old: the next one is fresh
            refused = error.response is not None and error.response.status_code in (409, 413, 422, 507)
            if not left or refused:
                raise
    experiment = CloudExperiment(session, created.get("experiment") or {})
    try:
        answer = session.post(f"experiments/{experiment.id}/submit", {"device": device})
    except ApiResponseError as error:
        if error.response is not None and error.response.status_code in (413, 422, 429):
            with contextlib.suppress(CloudError):  # refused for good: it must not count as one to come
                experiment.cancel()
        raise
    return CloudExperiment(session, answer)
