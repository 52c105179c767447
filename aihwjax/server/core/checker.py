"""A process that checks archives, one after the other: ``python -m aihwjax.server.core.checker BYTES``.

It reads one JSON object a line (``path``, ``max_parameters``) and answers with one a line, what
:func:`aihwjax.cloud.check.check` returns. It may use ``BYTES`` of address space, and ends when it
had nothing to do for a while. It stays because JAX takes seconds to start.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import tempfile
from pathlib import Path

IDLE_SECONDS = 300
"""How long it waits for something to do."""


def main(most_bytes: int) -> None:
    """Check what comes until nothing comes any more.

    Args:
        most_bytes: Of address space.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):  # where the system has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    from aihwjax.cloud.check import check

    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0] and (line := sys.stdin.readline()):
        asked = json.loads(line)
        tempfile.tempdir = str(Path(asked["path"]).parent)  # which is removed even if this process is killed
        print(json.dumps(check(asked["path"], asked["max_parameters"])), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
