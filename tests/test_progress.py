"""A bar of epochs where somebody looks, nothing elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from aihwjax.experiments import fit
from aihwjax.progress import Bar
from tests.experiments import small

PROGRAM = """
from aihwjax.progress import Bar
with Bar(True, 3, "compiling", "digits") as bar, Bar(True, 2) as inner:  # one within the other shows nothing
    bar.show(2, "training loss 0.5")
    inner.show(1, "")
print("done")
"""


def test_a_terminal_has_a_bar() -> None:
    parent, child = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=child, stderr=child, env=environment)
    os.close(child)
    text = b""
    while True:
        try:
            text += os.read(parent, 4096)
        except OSError:
            break
    assert process.wait() == 0
    assert "digits" in text.decode() and "2/3" in text.decode() and "training loss 0.5" in text.decode()
    assert re.search(r"done\s*$", text.decode())


def test_what_is_not_watched_stays_quiet() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


class Handle:
    """What ``display`` of IPython returns."""

    def __init__(self, line: object) -> None:
        self.lines = [repr(line)]

    def update(self, line: object) -> None:
        self.lines.append(repr(line))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """Return the lines that a notebook shows."""
    handles: list[Handle] = []

    def display(line: object, display_id: bool) -> Handle:
        handles.append(Handle(line))
        return handles[-1]

    monkeypatch.setattr("aihwjax.progress._in_a_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    return handles


def test_a_notebook_has_a_line(shown: list[Handle]) -> None:
    with Bar(True, name="digits") as bar:
        bar.show(1, "training loss 0.5", 2)
    assert shown[0].lines == ["digits  0 epochs", "digits  1 of 2 epochs  training loss 0.5"]
    with Bar(False, 2) as bar:
        bar.show(1, "")
    assert len(shown) == 1


def test_a_run_is_visible_unless_it_is_asked_to_be_quiet(shown: list[Handle]) -> None:
    experiment = small.experiment(epochs=2)
    metrics = fit(experiment, small.data())[1]
    (handle,) = shown
    assert handle.lines[0] == "0 of 2 epochs  compiling"
    assert handle.lines[-1].startswith(f"2 of 2 epochs  training loss {metrics[-1]['train_loss']:.4f}")
    fit(experiment, small.data(), progress=False)
    assert len(shown) == 1
