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

__all__ = ["doctor", "revoke", "sessions", "watch", "who", "worker"]

_MONTH = 30 * 24 * 3600.0


@click.command()
@redis_option
@prefix_option
@alias_option
@leeway_option
@click.option(
    "--with",
    "features",
    multiple=True,
    type=click.Choice(["activity", "logout-tokens", "opaque-tokens", "queue"]),
    help="The services use it: its rights are looked at too. May be given several times.",
)
@click.option("--event-stream", help="Key of the services' event stream, whose rights are looked at too.")
@click.option("--cluster", is_flag=True, help="It is a primary of a cluster, which the services know to be one.")
@json_option
def doctor(
    *,
    redis_url: str,
    prefix: str,
    alias: str | None,
    leeway: float,
    features: tuple[str, ...],
    event_stream: str | None,
    cluster: bool,
    as_json: bool,
) -> None:
    """Look at the Redis as a service would, and say by name what is wrong and what to do, in five seconds at most.

    Run it where the services run, with their URL. It changes nothing but keys that are nobody's. Exit status: 0 fine, 1
    something was found, 2 there was no answer, or not to the end.
    """
    from rich.console import Console

    from authcache_middleware.cli.doctor import Asked, examine, show

    asked = Asked(
        url=checked_url(redis_url),
        keys=keys_of(prefix, alias),
        leeway=leeway,
        of_a_cluster=cluster,
        features=features,
        events=event_stream,
    )
    with Console(stderr=True).status("looking", spinner="line"):  # shown on a terminal alone
        examined = examine(asked)
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
@click.option(
    "--event-stream",
    envvar="AUTHCACHE_EVENT_STREAM",
    show_envvar=True,
    help="Key of the services' event stream, which is told of it; nobody is, if left out.",
)
@click.option(
    "--event-stream-length",
    type=click.IntRange(1, 1_000_000_000),
    default=10_000,
    show_default=True,
    help="About how many events it keeps, as the services have it.",
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
    event_stream: str | None,
    event_stream_length: int,
    as_json: bool,
) -> None:
    """End what USER may do: everything, or with --sid one session; or with --token what a token may.

    It counts at once for every service that shares the Redis. --leeway and --max-token-lifetime are those of the
    services. The signature of --token is not looked at, and the user's row is not written (save_revocation). Exit
    status: 0 Redis has confirmed it, 1 it has not: it may or may not have happened, 2 something was given wrongly.
    """
    from authcache_middleware.cli import revoke as ending
    from authcache_middleware.cli.inspect import token_text
    from authcache_middleware.cli.reached import Told, reached

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
        tells=None if event_stream is None else Told(event_stream, alias, event_stream_length),
    ) as there:
        if claims is not None:
            ended = ending.revoke_token(there, claims)
        elif session is not None:
            ended = ending.revoke_session(there, str(subject), session)
        else:
            ended = ending.revoke_user(there, str(subject), leeway=leeway)
    click.echo(json.dumps({"revoked": ended.revoked}) if as_json else ended.said)


@click.command()
@click.option(
    "--within",
    "windows",
    multiple=True,
    type=click.FloatRange(1),
    default=(60.0, 300.0, 3600.0, 86400.0),
    show_default=True,
    help="Seconds until now; may be given several times. The first says who is online.",
)
@click.option(
    "--limit",
    type=click.IntRange(0, 100_000),
    default=20,
    show_default=True,
    help="How many of those online are named, the latest first.",
)
@redis_option
@prefix_option
@alias_option
@json_option
def who(
    *, windows: tuple[float, ...], limit: int, redis_url: str, prefix: str, alias: str | None, as_json: bool
) -> None:
    """Say who is online, and how many users were seen lately: by services that have activity switched on.

    Exit status: 0 also where nobody is, 1 Redis does not answer, 2 something was given wrongly.
    """
    from authcache_middleware.cli.reached import reached
    from authcache_middleware.cli.who import look, show_seen

    with reached(checked_url(redis_url), keys_of(prefix, alias), leeway=0, max_token_lifetime=_MONTH) as there:
        seen = look(there.last_seen, windows, limit=limit)
    show_seen(seen, as_json=as_json)


@click.command()
@click.argument("save_activity")
@click.option("--queue", "name", required=True, help="The queue's name, as the services have it.")
@redis_option
@click.option(
    "--redeliver-after",
    type=click.FloatRange(min=0.001),
    default=60.0,
    show_default=True,
    help="Seconds after which what a worker holds is handed to another; longer than a batch takes.",
)
@click.option(
    "--max-deliveries",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="How often a batch is tried before it is parked.",
)
@click.option("--consumer", help="This worker's name, which no other has; by default each process has one.")
@json_option
def worker(
    *,
    save_activity: str,
    name: str,
    redis_url: str,
    redeliver_after: float,
    max_deliveries: int,
    consumer: str | None,
    as_json: bool,
) -> None:
    """Call SAVE_ACTIVITY, a function named as module:function, for each batch of last activity; until Ctrl-C.

    The module is looked for from the current directory too; the function may be async. An outage of Redis is waited
    through. Exit status: 0 it was ended by SIGINT or SIGTERM, after the batch that was under way; 2 something was given
    wrongly.
    """
    from authcache_middleware.cli.worker import function_named, work
    from authcache_middleware.errors import ConfigurationError

    try:
        work(
            function_named(save_activity),
            checked_url(redis_url),
            name,
            consumer=consumer,
            as_json=as_json,
            redeliver_after=redeliver_after,
            max_deliveries=max_deliveries,
        )
    except ConfigurationError as wrong:
        raise click.UsageError(str(wrong)) from None


@click.command()
@click.option(
    "--event-stream",
    "key",
    envvar="AUTHCACHE_EVENT_STREAM",
    show_envvar=True,
    required=True,
    help="Key of the services' event stream.",
)
@click.option(
    "--after",
    default="$",
    show_default=True,
    help='The id of the last event that is known; "0" for all that the stream still has, "$" for those to come.',
)
@click.option("--count", type=click.IntRange(1), help="End after so many events; without it, with Ctrl-C.")
@redis_option
@json_option
def watch(*, key: str, after: str, count: int | None, redis_url: str, as_json: bool) -> None:
    """Show what happens to users' access at all services that share an event stream, as it happens.

    One line for each login, logout, revocation and invalidation; "gap" where some may have been missed. An outage of
    Redis is waited through. Exit status: 0 it was ended by SIGINT or SIGTERM, or by --count; 2 something was given
    wrongly.
    """
    from authcache_middleware.cli.watch import watch as watched

    url = checked_url(redis_url)
    try:
        watched(url, key, after=after, count=count, as_json=as_json)
    except ValueError as wrong:  # a ConfigurationError is one too
        raise click.UsageError(str(wrong)) from None
