"""One module for each peer, set up as its own documentation advises; each runs in the environment of that peer.

A module has ``NAME``, ``PROTOCOL`` (``asgi`` or ``wsgi``) and ``make(stage)``, a function or a coroutine function that
returns a ``Peer``.
"""
