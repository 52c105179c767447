"""The version, where every layer and the build can read it; users read ``aihwjax.__version__``."""

__version__ = "0.1.0"
