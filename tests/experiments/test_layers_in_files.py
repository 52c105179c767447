"""Every layer in files and in documents: there and back with all of its arguments, and one line for what is wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from aihwjax import config as configs
from aihwjax import nn
from aihwjax.cloud import document
from aihwjax.errors import AihwjaxError
from aihwjax.experiments import files, fit
from aihwjax.experiments.architecture import from_document, registry, to_document
from aihwjax.experiments.storing import arrays_of
from aihwjax.nn.recurrent import RecurrentCell
from aihwjax.nn.recurrent.cells import CELLS
from tests.marks import some

HEAD = [{"class": "Flatten"}, {"class": "Linear", "in_features": 0, "out_features": 10}, {"class": "LogSoftmax"}]
LAST, LINES = {"class": "ChannelsLast"}, {"class": "Reshape", "shape": [28, 28]}


def conv(kind: str = "AnalogConv", kernel: object = (3, 2), inputs: int = 1, outputs: int = 2, **more: object) -> dict:
    """Return the entry of a convolution."""
    sizes = {"in_features": inputs, "out_features": outputs, "kernel_size": kernel}
    return {"class": kind, **sizes, **more}


def rnn(cell: str, **more: object) -> dict:
    """Return the entry of a recurrent layer over the lines of an image."""
    return {"class": "AnalogRNN", "cell": cell, "in_features": 28, "hidden_features": 3, **more}


NETWORKS = {
    "two axes": (
        [
            LAST,
            conv(kernel=[3, 2], strides=[2, 1], padding=[[1, 0], [0, 2]], kernel_dilation=[1, 2], use_bias=False),
            {"class": "MaxPool", "window_shape": [2, 2], "strides": 2, "padding": "SAME"},
            conv("AnalogConv2d", 3, 2, 4, padding=1, feature_group_count=2),
            {"class": "AvgPool", "window_shape": [2, 1]},
            conv("AnalogConvTranspose", [2, 2], 4, 3, strides=2, padding="VALID"),
            {"class": "ChannelsFirst"},
        ],
        3 * 6 * 28,
    ),
    "one axis": (
        [LINES, conv("AnalogConv1d", 3, 28, 4, padding="CAUSAL"), {"class": "MaxPool", "window_shape": [2]}],
        14 * 4,
    ),
    "three axes": (
        [{"class": "Reshape", "shape": [4, 14, 14, 1]}, conv("AnalogConv3d", [2, 3, 3], padding="REFLECT", strides=2)],
        2 * 7 * 7 * 2,
    ),
    "general": (
        [
            LINES,
            {"class": "AnalogLinearGeneral", "in_features": [28, 28], "out_features": [2, 3], "axis": [-2, -1]},
            {"class": "AnalogLinearGeneral", "in_features": 2, "out_features": 4, "axis": 1, "use_bias": False},
        ],
        12,
    ),
    "matrices": (
        [
            {"class": "Flatten"},
            {"class": "AnalogEinsum", "einsum_str": "nd,df->nf", "kernel_shape": [784, 5], "bias_shape": [5]},
            {"class": "AnalogLoRALinear", "in_features": 5, "out_features": 4, "lora_rank": 2},
        ],
        4,
    ),
    "digital": (
        [
            LAST,
            conv("Conv", [3, 3], strides=[2, 2], padding=[[1, 1], [0, 0]]),
            conv("ConvTranspose", [2, 2], 2, 3, strides=[2, 2], padding="VALID"),
        ],
        28 * 26 * 3,
    ),
    "recurrent": (
        [
            LINES,
            rnn("AnalogLSTMCell", num_layers=2, bidirectional=True, dropout=0.5),
            {**rnn("AnalogVanillaRNNCell", time_major=True, use_bias=False), "in_features": 6},
        ],
        28 * 3,
    ),
    **{cell: ([LINES, rnn(cell)], 28 * 3) for cell in CELLS if cell != "AnalogLSTMCell"},
}


def described(name: str) -> dict:
    """Return the document of a file with a network of the table."""
    layers, features = NETWORKS[name]
    head = copy.deepcopy(HEAD)
    head[1]["in_features"] = features
    tile = {"class": "FloatingPointRPUConfig", "mapping": {"max_input_size": 100}}
    return {"experiment": {"dataset": "mnist10k"}, "tile": tile, "model": {"layers": [*layers, *head]}}


@pytest.mark.parametrize("name", some(NETWORKS, ["two axes", "one axis", "general", "digital", "recurrent"]))
def test_a_network_comes_back_from_a_file_and_from_a_document(name: str) -> None:
    built = files.build(described(name))
    again = files.build(configs.read_toml(files.to_toml(built.resolved)))
    model = built.experiment.model
    assert to_document(again.experiment.model) == to_document(model)
    sent = document.loads(document.dumps(document.to_document(built.experiment, 3)))
    facts = document.facts(sent)  # data, layers and loss fit each other, and sizes are known without building
    arrays = arrays_of(model)
    assert facts.arrays == {n: {"shape": list(a.shape), "dtype": str(a.dtype)} for n, a in arrays.items()}
    assert facts.size == sum(array.nbytes for array in arrays.values())
    back = document.from_document(sent).experiment.model
    assert to_document(back) == to_document(model)
    assert str(back) == str(model)


def test_every_layer_is_in_the_table() -> None:
    named = {layer["class"] for layers, _ in NETWORKS.values() for layer in layers}
    named |= {f"cell {layer['cell']}" for layers, _ in NETWORKS.values() for layer in layers if "cell" in layer}
    assert {f"cell {cell}" for cell in CELLS} <= named
    sequences = {name for name, layer in registry().items() if not issubclass(layer, RecurrentCell)}
    new = {name for name in sequences if name.startswith("Analog") or "Pool" in name or "Channels" in name}
    assert new - {"AnalogLayer", "AnalogTile", "AnalogSequential", "AnalogLinear"} <= named


PADDINGS = ["SAME", "VALID", "CIRCULAR", "REFLECT", "SAME_LOWER", 1, [1, 2], [[1, 0], [0, 2]]]


def test_every_padding_survives() -> None:
    config = configs.to_dict(nn.AnalogLinear(1, 1, rngs=nnx.Rngs(0)).analog_tiles()[0].config.get_value())
    for kind, paddings in (
        ("AnalogConv", PADDINGS),
        ("AnalogConvTranspose", ["CIRCULAR", 1, [1, 2], [[1, 0], [0, 2]]]),
    ):
        for padding in paddings:
            layer = from_document(conv(kind, [3, 2], padding=padding, config=config), nnx.Rngs(0))
            found = json.loads(json.dumps(to_document(layer)))
            wanted = nn.AnalogConv(1, 2, (3, 2), padding=padding, rngs=nnx.Rngs(0)).padding
            assert from_document(found, nnx.Rngs(0)).padding == layer.padding == wanted, padding


BAD = [
    (conv(padding="SAM"), "model[1] (AnalogConv): padding='SAM' is not known"),
    (conv(padding=True), "model[1].padding=True is not allowed: give str"),
    (conv(padding=-1), "padding=-1 is not allowed"),
    (conv(padding=[[1, 2, 3], [0, 0]]), "padding=((1, 2, 3), (0, 0)) is not allowed"),
    (conv(kernel=[3, 0]), "model[1] (AnalogConv): kernel_size=(3, 0) is not allowed"),
    (conv(kernel="3"), "kernel_size='3' is not allowed"),
    (conv("AnalogConv2d", [3, 3, 3]), "kernel_size=(3, 3, 3) is not allowed: give a whole number of at least 1, or 2"),
    (conv(strides=1.5), "strides=1.5"),
    (conv(kernel_dilation=0), "kernel_dilation=0 is not allowed"),
    (conv(feature_group_count=3), "feature_group_count=3 does not divide in_features=1"),
    (conv(stride=2), "has no argument 'stride'; did you mean 'strides'?"),
    (conv("AnalogConvTranspose", padding="REFLECT"), "padding='REFLECT' is not known"),
    (conv("Conv", [3, 3], feature_group_count=0), "model[1] (Conv) cannot be built"),
    ({"class": "MaxPool", "window_shape": [2, 2], "padding": "FULL"}, "padding='FULL' is not known"),
    ({"class": "Reshape", "shape": [0]}, "shape=(0,) is not allowed"),
    ({"class": "Reshape"}, "model[1] (Reshape) needs a value for 'shape'"),
    (rnn("AnalogGRU"), "did you mean 'AnalogGRUCell'?"),
    (rnn("AnalogGRUCell", dropout=2.0), "dropout=2.0 is not allowed: give a number from 0 to 1"),
    (rnn("AnalogGRUCell", bidirectional="yes"), "model[1].bidirectional='yes' is not allowed: give bool"),
    ({"class": "AnalogGRUCell", "in_features": 28, "hidden_features": 3}, "is a cell, one step of a sequence: give"),
    ({"class": "AnalogLinearGeneral", "in_features": [28, 28], "out_features": 2}, "axis=-1 is not allowed: give 2"),
]


@pytest.mark.parametrize(("layer", "text"), BAD, ids=[row[1][:40] for row in BAD])
def test_a_bad_value_is_one_line(layer: dict, text: str) -> None:
    given = described("one axis")
    given["model"]["layers"][1] = layer
    with pytest.raises(AihwjaxError) as caught:
        files.build(given)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_the_files_of_the_guide_can_be_run() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "experiments.md").read_text(encoding="utf-8")
    whole, *parts = (configs.read_toml(text) for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL))
    assert len(parts) == 2
    for part in parts:
        built = files.build({**whole, **part})
        document.check(document.to_document(built.experiment, 0, 0, built.keep_best, built.best))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two axes", "AnalogGRUCell"])
def test_a_network_of_a_file_is_trained(name: str) -> None:
    built = files.build(files.assign(described(name), ["epochs=1", "learning_rate=0.05", "batch_size=16"]))
    model, metrics = fit(built.experiment, built.experiment.dataset.load(max_elements=64), 0)
    assert np.isfinite(metrics[-1]["valid_loss"])
    before, after = (arrays_of(each) for each in (built.experiment.model, model))
    assert not all(np.array_equal(before[path], after[path]) for path in before)
    assert model(np.ones((2, 1, 28, 28), np.float32), key=jax.random.key(0)).shape == (2, 10)
