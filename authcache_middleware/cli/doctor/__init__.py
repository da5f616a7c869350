"""``authcache doctor``: what is wrong with a Redis, each thing by a name of its own, in under five seconds."""

from authcache_middleware.cli.doctor.examine import Asked, Examined, examine, show

__all__ = ["Asked", "Examined", "examine", "show"]
