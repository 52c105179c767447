"""A network of the wire protocol as layers of a document.

Data come with their channels first, as PyTorch's. Axes are moved before a layer that needs them elsewhere, and moved
back before one that joins axes or works along one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from aihwjax.errors import nearest
from aihwjax.server.faces.wire import layers, messages
from aihwjax.server.faces.wire.layers import Context, Document, Presets, RefusedError, short


def layers_of(entries: Iterable[Any], presets: Presets) -> list[Document]:
    """Return the layers of a network.

    Args:
        entries: Of the message.
        presets: Configuration documents of the presets.

    Raises:
        RefusedError: If there are none, or one is not supported; it names all unsupported layers at once.
    """
    given = list(entries)
    if not given:
        raise RefusedError("the network has no layers: give at least one")
    unknown = []
    for number, entry in enumerate(given):
        if entry.WhichOneof("item") is None:
            raise RefusedError(f"layer {number} is neither a layer nor an activation function")
        if named(entry).id not in layers.RULES:
            unknown.append(f"layer {number} {short(named(entry).id)}")
    if unknown:
        raise RefusedError(f"{_and(unknown)} {'is' if len(unknown) == 1 else 'are'} not supported")
    found: list[Document] = []
    last = False
    for number, (entry, (move, last)) in enumerate(zip(given, _moves(given), strict=True)):
        found += [] if move is None else [{"class": move}]
        found.append(_layer(number, named(entry), Context(presets, last)))
    return [*found, {"class": "ChannelsFirst"}] if last else found


def in_its_numbers(text: str, entries: Iterable[Any]) -> str:
    """Return an error about the model that :func:`layers_of` made, with the positions that layers have on the wire.

    Args:
        text: Positions in it are such as ``layers/3`` or ``model[3]``.
        entries: Of the message.
    """
    numbers: list[int] = []
    for number, (move, _) in enumerate(_moves(list(entries))):
        numbers += [number] if move is None else [number, number]  # what moves axes belongs to the layer after it

    def named(found: re.Match[str]) -> str:
        position = int(found[2])
        return f"{found[1]}{numbers[position] if position < len(numbers) else len(numbers)}"

    return re.sub(r"(\blayers/|\bmodel\[)(\d+)", named, text)


def named(entry: Any) -> Any:
    """Return the layer or activation of an entry of the message."""
    return getattr(entry, entry.WhichOneof("item"))


def _moves(given: list[Any]) -> Iterator[tuple[str | None, bool]]:
    """Yield the layer that moves axes before each layer, if one has to, and whether channels are the last axis then."""
    last = False
    for entry in given:
        wanted = layers.RULES[named(entry).id].channels_last
        move = None if wanted in (None, last) else "ChannelsLast" if wanted else "ChannelsFirst"
        last = last if wanted is None else wanted
        yield move, last


def _layer(number: int, message: Any, context: Context) -> Document:
    where = f"layer {number} {message.id}"
    rule = layers.RULES[message.id]
    if getattr(message, "state_dict", None):
        raise RefusedError(f"{where} has weights: they are not supported, leave state_dict empty")
    values = messages.argument_values(message)
    for name, value in values.items():
        if name not in rule.arguments:
            raise RefusedError(f"{where} has no argument {short(name)}{nearest(name, rule.arguments)}")
        if not _is(value, rule.arguments[name]):
            raise RefusedError(f"{where} has {name} {short(value)}: give {layers.KINDS[rule.arguments[name]]}")
    for name in rule.arguments:
        if name not in values and name not in rule.optional:
            raise RefusedError(f"{where} needs the argument {name}")
    try:
        return rule.build(values, context)
    except RefusedError as error:
        raise RefusedError(f"{where} {error}") from None


def _is(value: Any, kind: type) -> bool:
    if kind is layers.Pair:
        pair = isinstance(value, tuple) and len(value) == 2 and all(type(each) is int for each in value)
        return pair or type(value) is int
    return type(value) is kind


def _and(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
