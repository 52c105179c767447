"""What the commands of ``aihwjax plot`` share: options, the tile that is drawn, and the file that is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from aihwjax.tile.config import TileConfig

Output = Annotated[Path, Parameter(alias="-o")]
"""File to write, of a command."""


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Options of every figure of a tile."""

    output: Output
    """File to write; its suffix is png, svg or pdf."""
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = ()
    """Change a value, such as device.dw_min=0.002; may be repeated."""
    key: int = 0
    """Seed of the devices and all noise."""


def ready(output: Path) -> None:
    """Refuse what would fail after the work is done."""
    from aihwjax.plot.style import check_suffix, pyplot

    check_suffix(output)
    pyplot()


def prepared(preset: str, options: Options, section: Callable[[str], Mapping[str, Any]] | None = None) -> TileConfig:
    """Return the configuration that is drawn, when all that can be wrong before is right.

    Args:
        preset: A name, or a TOML file.
        options: Output and changes.
        section: Makes the section ``tile`` of a name; ``None``: for a tile, a device or a product.
    """
    ready(options.output)
    from aihwjax.compiling import compile_cache
    from aihwjax.experiments import files

    compile_cache()
    if preset.endswith(".toml"):
        document: Mapping[str, Any] = files.read(preset)
    else:
        document = {"tile": (section or _tile_of_preset)(preset)}
    return files.build_tile(files.assign(document, options.set_))


def _tile_of_preset(name: str) -> Mapping[str, Any]:
    """Return the section ``tile`` for a preset of a tile, a device or a product, or for a class of devices."""
    from aihwjax.devices import Device
    from aihwjax.errors import ConfigError
    from aihwjax.plot.subject import DEVICES, named
    from aihwjax.tile.config import TileConfig
    from aihwjax.tile.product.io import IOParameters

    found = named(name)
    if name in DEVICES:
        return {"device": {"class": name}}
    if isinstance(found, TileConfig):
        return {"preset": name}
    if isinstance(found, Device):
        return {"device": {"preset": name}}
    if isinstance(found, IOParameters):
        return {"device": {"class": "FloatingPointDevice"}, "forward": {"preset": name}}
    raise ConfigError(f"{name!r} cannot be drawn: it is a preset of {type(found).__name__}, not of a device or tile")


def write(figure: Figure, preset: str, output: Path, more: str = "") -> None:
    """Write the figure under the name that the user gave, and more."""
    from aihwjax.plot import save

    name = (Path(preset).stem if preset.endswith(".toml") else preset) + more
    if figure.get_suptitle():
        figure.suptitle(name, fontsize=9)
    else:
        figure.axes[0].title.set_text(name)  # where it is, above the legend
    save(figure, output)
    print(f"wrote {output}")
