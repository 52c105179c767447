"""Short text for modules, as a person wants to read them in a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from flax import nnx
from flax.nnx import reprlib

from aihwjax import arguments, moved, showing
from aihwjax.errors import ModuleError

_FLAX_FIELDS = ("in_features", "out_features", "num_features", "kernel_size", "rate", "use_bias")


class Readable(showing.Shown, nnx.Module):
    """A module whose text is one line, or one line for each member, instead of all of its arrays.

    In a notebook it is a tree that can be unfolded down to the arrays.
    """

    elsewhere: ClassVar[Mapping[str, str]] = moved.MODULES
    """What people of other libraries look for, and what is here in its place."""
    unset: ClassVar[frozenset[str]] = frozenset()
    """Names that would be kept and do nothing."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let every layer and its methods answer a mistake in their arguments in one line."""
        super().__init_subclass__(**options)
        arguments.answering(cls)

    if not TYPE_CHECKING:  # a type checker would take any name for one that is there

        def __getattr__(self, name: str) -> NoReturn:
            text = f"{type(self).__name__!r} object has no attribute {name!r}{moved.hint(name, self.elsewhere)}"
            raise AttributeError(text, name=name, obj=self)

        def __setattr__(self, name: str, value: Any) -> None:
            if name in self.unset or self._is_plain(name, value):
                kind, known = type(self).__name__, self.elsewhere if name in self.unset else moved.ASSIGNED
                hint = moved.hint(name, known) or f": write {name}.set_value(value), which changes it in place"
                if name == "bias" and self.bias is None:
                    hint = ": the layer was made without a digital one; make it with bias=True"
                text = f"{name!r} of {kind!r} object is not allowed to be set{hint}"
                raise AttributeError(text, name=name, obj=self)
            super().__setattr__(name, value)

    def _is_plain(self, name: str, value: object) -> bool:
        """Whether a value without a variable around it would take the place of a variable, and fail later."""
        if isinstance(value, nnx.Variable | dataclasses.Field) or value is None:
            return False
        held = vars(self).get(name, self)
        return isinstance(held, nnx.Variable) or (held is None and name in moved.ASSIGNED)

    def train(self, *mode: bool, **attributes: Any) -> None:
        """Set the modules of Flax inside to training; see ``nnx.Module.train``.

        Args:
            *mode: Nothing; PyTorch has its ``False`` here.
            **attributes: Attributes to set.

        Raises:
            ModuleError: If a mode is given.
        """
        if mode:
            raise ModuleError(f"train({mode[0]!r}) is not allowed: write model.train(), or model.eval()")
        super().train(**attributes)

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
