"""Devices: one model a file. Each is a frozen configuration and a few pure functions."""
