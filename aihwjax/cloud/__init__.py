"""Experiments on another machine: what is sent, and the client that sends it.

The client needs nothing beyond the package itself; the composer that answers it is
:mod:`aihwjax.server`.
"""
