"""Who does the training: processes that take jobs by a lease, run each in a process of its own, and keep order.

A server starts workers (:mod:`~aihwjax.server.workers.supervisor`), or people do, on any machine. A
worker (:mod:`~aihwjax.server.workers.worker`) claims a job, an executor starts its process
(:mod:`~aihwjax.server.workers.job`), and the worker reports what it reads there. Workers reach the
server through the database and the files alone.
"""
