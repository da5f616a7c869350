"""The commands and their options; what each does stands in a module of its own, imported when it is asked for."""

from __future__ import annotations

import math
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import click

from authcache_middleware.cli.live_commands import doctor, revoke, sessions, watch, who, worker
from authcache_middleware.cli.mint import claim, given_by_option, mint, signing_key
from authcache_middleware.issuers import USUAL_TYPES
from authcache_middleware.tokens.material import FAMILIES

__all__ = ["authcache"]

_HOUR = 3600.0
_DEMO_NEEDS = ("aiosqlite", "fastapi", "flask", "httpx", "rich", "sqlalchemy", "uvicorn", "waitress")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("authcache-middleware"), prog_name="authcache")
def authcache() -> None:
    """Tools for services behind authcache-middleware."""


for command in (doctor, sessions, revoke, who, watch, worker):
    authcache.add_command(command)


@authcache.command()
@click.option("--key", envvar="AUTHCACHE_KEY", show_envvar=True, help="HMAC secret, or private key as PEM.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds the key; one line break at its end is left out.",
)
@click.option("--algorithm", type=click.Choice(list(FAMILIES)), default="HS256", show_default=True)
@click.option("--subject", required=True, help="The user's id (sub).")
@click.option("--issuer", help="iss; left out unless given.")
@click.option("--audience", multiple=True, help="aud; may be given several times.")
@click.option(
    "--lifetime",
    type=click.FloatRange(min=1, max=366 * 24 * _HOUR),
    default=_HOUR,
    show_default=True,
    help="Seconds until it expires. Services accept 30 days at most unless they are told otherwise.",
)
@click.option("--scope", multiple=True, help='One scope or several ("read write"); may be given several times.')
@click.option("--kid", help="Name of the key, in the header.")
@click.option("--typ", default="JWT", show_default=True, help="Media type, in the header.")
@click.option(
    "--claim", "claims", multiple=True, metavar="NAME=JSON", help="A further claim: admin=true, name='\"Ann\"'."
)
def token(
    *,
    key: str | None,
    key_file: Path | None,
    algorithm: str,
    subject: str,
    issuer: str | None,
    audience: tuple[str, ...],
    lifetime: float,
    scope: tuple[str, ...],
    kid: str | None,
    typ: str,
    claims: tuple[str, ...],
) -> None:
    """Mint a token for development and print it, and nothing else, on standard output.

    A token that the middleware would refuse is not printed. Keys on the command line are seen by everyone on the
    machine: prefer --key-file or the environment variable.
    """
    if not math.isfinite(lifetime):
        raise click.BadParameter("must be a number of seconds", param_hint="--lifetime")
    further = dict(map(claim, claims))
    if len(further) < len(claims):
        raise click.BadParameter("a claim is given twice", param_hint="--claim")
    click.echo(
        mint(
            signing_key(key, key_file),
            algorithm=algorithm,
            subject=subject,
            issuer=issuer,
            audience=audience[0] if len(audience) == 1 else audience or None,
            lifetime=lifetime,
            scope=" ".join(scope) or None,
            kid=kid,
            typ=typ,
            claims=further,
        )
    )


@authcache.command()
@click.argument("token")
@click.option("--key", envvar="AUTHCACHE_KEY", show_envvar=True, help="HMAC secret, or public or private key as PEM.")
@click.option(
    "--key-file",
    "--keys",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds the key; one line break at its end is left out.",
)
@click.option("--jwks", metavar="FILE|URL", help="A JWK or a JWK set, in place of a key.")
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(list(FAMILIES)),
    help="Taken; the token's if left out.",
)
@click.option("--issuer", help="What iss must be; not checked if left out.")
@click.option(
    "--typ", multiple=True, help='Media type taken; "none" for a token without one. JWT, at+jwt, none if left out.'
)
@click.option("--profile", type=click.Choice(["jwt", "rfc9068"]), default="jwt", show_default=True)
@click.option("--audience", multiple=True, help="What aud must be or hold, one of several; not checked if left out.")
@click.option("--leeway", type=click.FloatRange(0, 60), default=5.0, show_default=True, help="Seconds.")
def inspect(
    *,
    token: str,
    key: str | None,
    key_file: Path | None,
    jwks: str | None,
    algorithms: tuple[str, ...],
    issuer: str | None,
    typ: tuple[str, ...],
    profile: Literal["jwt", "rfc9068"],
    audience: tuple[str, ...],
    leeway: float,
) -> None:
    """Show what TOKEN says, verify it where a key is given, and say in one line why it would be refused.

    Its signature is never printed, nor anything of one that is opaque. TOKEN may be - for standard input: what stands
    on the command line is seen by everyone on the machine. Exit status: 0 accepted, 1 refused, 3 if nothing is wrong
    but there was no key.
    """
    from authcache_middleware.cli.inspect import inspect as inspected
    from authcache_middleware.cli.inspect import published_keys, token_text, verification_key
    from authcache_middleware.cli.refusals import Expected

    keys = None
    if jwks is not None:
        if key_file is not None or given_by_option("key"):
            raise click.UsageError("give a key or --jwks, not both")
        keys = published_keys(jwks)
    elif key or key_file is not None:
        keys = verification_key(signing_key(key, key_file))
    expected = Expected(
        keys=keys,
        algorithms=algorithms or None,
        issuer=issuer,
        audience=audience or None,
        leeway=leeway,
        typ=tuple(None if each == "none" else each for each in typ) or USUAL_TYPES,
        profile=profile,
    )
    raise SystemExit(inspected(token_text(token), expected))


@authcache.command()
@click.option("--serve", is_flag=True, help="Keep both services running after the story, until Ctrl-C.")
@click.option("--redis-url", help="Use this Redis or Valkey; one of its own is started otherwise.")
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    help="Port of the FastAPI service; Flask gets the next one. Free ones are taken otherwise.",
)
@click.option(
    "--loader-ms",
    type=click.IntRange(0, 500),
    default=0,
    show_default=True,
    help="Milliseconds that each database read takes longer, with and without the cache.",
)
@click.option("--requests", type=click.IntRange(20, 100_000), default=2000, show_default=True)
@click.option("--users", type=click.IntRange(2, 500), default=50, show_default=True, help="Users in those requests.")
def demo(*, serve: bool, redis_url: str | None, port: int | None, loader_ms: int, requests: int, users: int) -> None:
    """Play a story over real HTTP: two services, one cache, and what happens when users change.

    Starts a Valkey, a database with 1,000 users, a FastAPI and a Flask service, and checks what it prints: the exit
    status is 1 when a claim does not hold. Leaves no process and no file behind.
    """
    missing = [name for name in _DEMO_NEEDS if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"the demo needs {', '.join(missing)}: python -m pip install 'authcache-middleware[demo]'"
        )
    if requests < users:
        raise click.BadParameter("must be at least --users", param_hint="--requests")
    from authcache_middleware.cli.demo.plan import Plan
    from authcache_middleware.cli.demo.play import play

    plan = Plan(serve=serve, redis_url=redis_url, port=port, loader_ms=loader_ms, requests=requests, users=users)
    raise SystemExit(play(plan))


@authcache.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(*, name: str | None, arguments: tuple[str, ...]) -> None:
    """Run the benchmark NAME with its own ARGUMENTS (--help names them), or list what there is.

    Only in a checkout: the scripts are no part of what is installed. They need the extra bench.
    """
    from authcache_middleware.cli.bench import benchmarks, folder, run

    place = folder()
    if place is None:
        raise click.ClickException("there are no benchmarks here: they are run in a checkout, installed with pip -e")
    known = benchmarks(place)
    if name is None or name.startswith("-"):
        width = max(map(len, known))
        click.echo("Usage: authcache bench NAME [ARGUMENTS]\n")
        for each, line in known.items():
            click.echo(f"  {each.replace('_', '-'):<{width}}  {line}")
        return
    script = name.replace("-", "_")
    if script not in known:
        raise click.BadParameter(f"there is no such benchmark; authcache bench lists them: {name}", param_hint="NAME")
    raise SystemExit(run(place / f"{script}.py", arguments))
