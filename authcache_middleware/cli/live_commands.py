"""The commands that look at a running system, and their options; what each does stands in a module of its own."""

from __future__ import annotations

import json

import click

from authcache_middleware.cli.given import (
    alias_option,
    checked_id,
    checked_url,
    json_option,
    keys_of,
    leeway_option,
    prefix_option,
    redis_option,
)

__all__ = ["doctor", "revoke", "sessions"]

_MONTH = 30 * 24 * 3600.0


@click.command()
@redis_option
@prefix_option
@alias_option
@leeway_option
@click.option("--cluster", is_flag=True, help="It is a primary of a cluster, which the services know to be one.")
@json_option
def doctor(
    *, redis_url: str, prefix: str, alias: str | None, leeway: float, cluster: bool, as_json: bool
) -> None:  # fmt: skip
    """Look at the Redis as a service would, and say by name what is wrong and what to do, in five seconds at most.

    Run it where the services run, with their URL. It changes nothing but keys that are nobody's. Exit status: 0 fine, 1
    something was found, 2 there was no answer, or not to the end.
    """
    from authcache_middleware.cli.doctor import Asked, examine, show

    examined = examine(
        Asked(url=checked_url(redis_url), keys=keys_of(prefix, alias), leeway=leeway, of_a_cluster=cluster)
    )
    show(examined, as_json=as_json)
    raise SystemExit(examined.status)


@click.command()
@click.argument("user")
@redis_option
@prefix_option
@alias_option
@json_option
def sessions(*, user: str, redis_url: str, prefix: str, alias: str | None, as_json: bool) -> None:
    """List the sessions of USER that are on record, the oldest first.

    Exit status: 0 also where there are none, 1 Redis does not answer, 2 something was given wrongly.
    """
    from authcache_middleware.cli.reached import reached
    from authcache_middleware.cli.sessions import show_sessions
    from authcache_middleware.runtime import finish

    url, keys, subject = checked_url(redis_url), keys_of(prefix, alias), checked_id("USER", user)
    with reached(url, keys, leeway=0, max_token_lifetime=_MONTH) as there:
        found = finish(there.logins.live(subject))
    show_sessions(found, as_json=as_json)


@click.command()
@click.argument("user", required=False)
@click.option("--sid", help="End this one session of USER.")
@click.option("--token", help="End this token's session, or the token alone where it has no sid; - for standard input.")
@click.option("--subject-claim", default="sub", show_default=True, help="The claim of --token that names the user.")
@redis_option
@prefix_option
@alias_option
@leeway_option
@click.option(
    "--max-token-lifetime",
    type=click.FloatRange(1, 10 * 366 * 24 * 3600.0),
    default=_MONTH,
    show_default=True,
    help="Seconds that the services accept.",
)
@click.option(
    "--wait-replicas",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="How many replicas must confirm it.",
)
@json_option
def revoke(
    *,
    user: str | None,
    sid: str | None,
    token: str | None,
    subject_claim: str,
    redis_url: str,
    prefix: str,
    alias: str | None,
    leeway: float,
    max_token_lifetime: float,
    wait_replicas: int,
    as_json: bool,
) -> None:
    """End what USER may do: everything, or with --sid one session; or with --token what a token may.

    It counts at once for every service that shares the Redis. --leeway and --max-token-lifetime are those of the
    services. The signature of --token is not looked at, and the user's row is not written (save_revocation). Exit
    status: 0 Redis has confirmed it, 1 it has not: it may or may not have happened, 2 something was given wrongly.
    """
    from authcache_middleware.cli import revoke as ending
    from authcache_middleware.cli.inspect import token_text
    from authcache_middleware.cli.reached import reached

    if (user is None) == (token is None) or (sid is not None and user is None):
        raise click.UsageError("give USER, USER and --sid, or --token")
    subject = None if user is None else checked_id("USER", user)
    session = None if sid is None else checked_id("--sid", sid)
    claims = None if token is None else ending.claims_of(token_text(token), subject_claim)
    with reached(
        checked_url(redis_url),
        keys_of(prefix, alias),
        leeway=leeway,
        max_token_lifetime=max_token_lifetime,
        wait_replicas=wait_replicas,
    ) as there:
        if claims is not None:
            ended = ending.revoke_token(there, claims)
        elif session is not None:
            ended = ending.revoke_session(there, str(subject), session)
        else:
            ended = ending.revoke_user(there, str(subject), leeway=leeway)
    click.echo(json.dumps({"revoked": ended.revoked}) if as_json else ended.said)
