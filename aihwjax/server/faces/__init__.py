"""How people and programs reach the composer over HTTP: one app, three faces, and what these share.

The faces are the API (:mod:`~aihwjax.server.faces.api`), the pages for browsers
(:mod:`~aihwjax.server.faces.pages`) and the interface of the reference's client
(:mod:`~aihwjax.server.faces.wire`); :mod:`~aihwjax.server.faces.app` puts them together. They
translate, and ask :mod:`aihwjax.server.core` for everything.
"""
