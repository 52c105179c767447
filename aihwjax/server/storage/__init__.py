"""Where the composer keeps what must survive it: a database with its clock and migrations, and files.

Tables and artefacts only; what they mean is decided in :mod:`aihwjax.server.core`.
"""
