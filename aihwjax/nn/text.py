"""Short text for modules, as a person wants to read them in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flax import nnx
from flax.nnx import reprlib

from aihwjax import arguments, showing
from aihwjax.errors import ModuleError

_FLAX_FIELDS = ("in_features", "out_features", "num_features", "kernel_size", "rate", "use_bias")


class Readable(showing.Shown, nnx.Module):
    """A module whose text is one line, or one line for each member, instead of all of its arrays.

    In a notebook it is a tree that can be unfolded down to the arrays.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Let every layer and its methods answer a mistake in their arguments in one line."""
        super().__init_subclass__(**options)
        arguments.answering(cls)

    def describe(self) -> str:
        """Return the text."""
        return f"{type(self).__name__}()"

    @property
    def _nnx_tabulate_id(self) -> int:
        """What ``nnx.tabulate`` marks each module with before it calls all of its methods with arrays alone."""
        raise AttributeError("_nnx_tabulate_id")

    @_nnx_tabulate_id.setter
    def _nnx_tabulate_id(self, value: int) -> None:
        raise ModuleError(
            "nnx.tabulate cannot show analog layers, whose methods take streams of noise: "
            "call print(model), or nnx.display(model) in a notebook"
        )

    def __repr__(self) -> str:
        return self.describe()

    def __nnx_repr__(self) -> Iterator[reprlib.Object]:
        """Be as short within the text of a module of Flax, which would show every array of its members."""
        yield reprlib.Object(type=self.describe(), start="", end="")

    def __str__(self) -> str:
        return self.describe()

    def __treescope_repr__(self, path: str | None, subtree_renderer: showing.Renderer) -> showing.Rendering:
        return nnx.Module.__treescope_repr__(self, path, subtree_renderer)


def module_text(module: nnx.Module) -> str:
    """Return the text of any module; modules of Flax are shortened to their sizes.

    Args:
        module: Any NNX module.
    """
    if isinstance(module, Readable) or not type(module).__module__.startswith("flax."):
        return repr(module)
    fields = [f"{name}={getattr(module, name)}" for name in _FLAX_FIELDS if hasattr(module, name)]
    return f"nnx.{type(module).__name__}({', '.join(fields)})"
