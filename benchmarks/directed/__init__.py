"""Directed cases: small configurations, each aimed at one place, measured on the reference and kept as a golden family.

``python -m benchmarks.directed`` measures the table of :mod:`benchmarks.directed.table` anew;
``python -m benchmarks.directed --random 100 --seed 1`` looks for more disagreements.
"""
