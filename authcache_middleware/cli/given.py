"""What several commands are given: where the Redis is, whose keys are meant, and in which form to answer."""

from __future__ import annotations

import click

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.redis.connect import RedisTarget
from authcache_middleware.users.keys import UserKeys, is_subject

__all__ = [
    "alias_option",
    "checked_id",
    "checked_url",
    "json_option",
    "keys_of",
    "leeway_option",
    "prefix_option",
    "redis_option",
]

redis_option = click.option(
    "--redis",
    "redis_url",
    envvar="AUTHCACHE_REDIS_URL",
    show_envvar=True,
    default="redis://localhost:6379",
    show_default=True,
    help="URL of the Redis or Valkey.",
)
prefix_option = click.option(
    "--prefix",
    envvar="AUTHCACHE_PREFIX",
    show_envvar=True,
    default="user:",
    show_default=True,
    help="What users' keys begin with, as the services have it.",
)
alias_option = click.option(
    "--alias", envvar="AUTHCACHE_ALIAS", show_envvar=True, help="The issuer's alias, where there are several."
)
leeway_option = click.option(
    "--leeway",
    type=click.FloatRange(0, 60),
    default=5.0,
    show_default=True,
    help="Seconds by which clocks may differ, as the services have it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="For machines: JSON, one object a line.")


def checked_url(url: str) -> str:
    """The URL, as the faces take it; raises ``click.BadParameter``, which does not show it."""
    try:
        RedisTarget(url, asynchronous=False, timeout=1.0, connect_timeout=1.0, max_connections=1, wait_replicas=0)
    except ConfigurationError as wrong:
        raise click.BadParameter(str(wrong).partition(": ")[2], param_hint="--redis") from None
    return url


def keys_of(prefix: str, alias: str | None) -> UserKeys:
    """The names of the keys; raises ``click.BadParameter``."""
    try:
        return UserKeys(prefix, alias)
    except ConfigurationError as wrong:
        raise click.BadParameter(str(wrong).partition(": ")[2], param_hint=f"--{wrong.argument}") from None


def checked_id(name: str, text: str) -> str:
    """The text, if it may be a subject or a session's id; raises ``click.BadParameter``."""
    if not is_subject(text):
        raise click.BadParameter("must have 1 to 255 characters, none of them a control character", param_hint=name)
    return text
