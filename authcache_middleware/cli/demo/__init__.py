"""``authcache demo``: two services, one cache, and a story over real HTTP whose claims are checked.

``play`` runs it, ``stage`` starts what it needs, ``story`` is what happens, ``report`` prints and checks it; the two
services run as processes of their own.
"""
