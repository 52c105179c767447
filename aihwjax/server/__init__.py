"""The composer: a server that runs training experiments for a group (extra ``composer``).

Requests come in through :mod:`~aihwjax.server.faces`, which ask :mod:`~aihwjax.server.core`; that keeps
everything in :mod:`~aihwjax.server.storage`, where :mod:`~aihwjax.server.workers` find the jobs.
:mod:`~aihwjax.server.serving` starts it all. Nothing here is imported by the client.
"""
