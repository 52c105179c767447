"""What the composer decides, whoever asks: who may do what, which archives are taken, which job is whose.

:mod:`~aihwjax.server.core.service` is what faces call, :mod:`~aihwjax.server.core.leases` what workers
call. Nothing here answers HTTP, and nothing here trains.
"""
