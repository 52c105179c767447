"""Models of Flax made analog, and back: what each layer becomes, which layers are meant, and the replacement itself."""

from aihwjax.nn.conversion.convert import convert_to_analog, convert_to_digital
from aihwjax.nn.conversion.plan import Conversion, Row, plan_conversion

__all__ = ["Conversion", "Row", "convert_to_analog", "convert_to_digital", "plan_conversion"]
