"""Noise models: what programming, time and reading do to a conductance; one file a model (spec: inference)."""

from aihwjax.inference.noise.base import NoiseModel
from aihwjax.inference.noise.cmo import ReRamCMODecay, ReRamCMONoiseModel, ReRamCMORead
from aihwjax.inference.noise.curves import BranchedCurve, ClippedLog, NoisePolynomial, PowerLawRead
from aihwjax.inference.noise.custom_drift import CustomDriftPCMLikeNoiseModel, DriftTable
from aihwjax.inference.noise.hermes import HermesNoiseModel
from aihwjax.inference.noise.measured import MeasuredNoiseModel
from aihwjax.inference.noise.pcm import PCMLikeNoiseModel
from aihwjax.inference.noise.state_independent import StateIndependentNoiseModel
from aihwjax.inference.noise.wan import ReRamWan2022NoiseModel

__all__ = [
    "BranchedCurve",
    "ClippedLog",
    "CustomDriftPCMLikeNoiseModel",
    "DriftTable",
    "HermesNoiseModel",
    "MeasuredNoiseModel",
    "NoiseModel",
    "NoisePolynomial",
    "PCMLikeNoiseModel",
    "PowerLawRead",
    "ReRamCMODecay",
    "ReRamCMONoiseModel",
    "ReRamCMORead",
    "ReRamWan2022NoiseModel",
    "StateIndependentNoiseModel",
]
