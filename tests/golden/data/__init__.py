"""Recorded statistics of the reference; see README.md."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""The folder of the golden files."""
