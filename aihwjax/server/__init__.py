"""The composer: a server that runs training experiments for a group (extra ``composer``).

:mod:`~aihwjax.server.service` is the core that every face uses; :mod:`~aihwjax.server.worker`
works its jobs off. Nothing here is imported by the client.
"""
