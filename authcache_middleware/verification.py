"""From a token to its claims with the keys of the moment: what is remembered, who verifies, and who fetches keys.

One for a face in a process. What waits, the fetchers, belongs to an event loop or to the threads of the process, and is
handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar, final

from authcache_middleware.issuers import Issuer
from authcache_middleware.options import Options
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.jwks import JWKS, Get
from authcache_middleware.tokens.logout import LogoutOrder, LogoutRules
from authcache_middleware.tokens.remembered import KnownToken, RememberedTokens
from authcache_middleware.tokens.remote import KeyFetcher, RemoteKeys, UnknownKeyError
from authcache_middleware.tokens.router import TokenRouter
from authcache_middleware.tokens.verifier import TokenVerifier
from authcache_middleware.users.keys import UserKeys

__all__ = ["Fetchers", "KnownIssuer", "Verification", "known_issuers"]
T = TypeVar("T")


class KnownIssuer(NamedTuple):
    """One issuer as it was configured, before anything runs."""

    says: Issuer
    keys: UserKeys
    verifier: TokenVerifier


def known_issuers(options: Options) -> dict[str | None, KnownIssuer]:
    """The issuers by their names. Raises ``ConfigurationError`` for what is wrong with their keys and rules."""
    known = {}
    for says in options.each_issuer:
        keys = says.keys
        verifier = TokenVerifier(
            keys=RemoteKeys(keys, says.algorithms, now=options.clock.monotonic) if isinstance(keys, JWKS) else keys,
            algorithms=says.algorithms,
            issuer=says.issuer,
            audience=says.audience,
            leeway=options.leeway,
            typ=says.typ,
            required=says.required,
            subject_claim=says.subject_claim,
            max_token_lifetime=options.max_token_lifetime,
            require_iat=options.require_iat,
            reject_id_tokens=says.reject_id_tokens,
            scope_claims=says.scope_claims,
            roles_claim=says.roles_claim,
            profile=says.profile,
        )
        known[says.issuer] = KnownIssuer(says, UserKeys(options.prefix, says.alias), verifier)
    return known


Fetchers = Mapping[RemoteKeys, KeyFetcher]


@final
class Verification:
    """Verifies the tokens of all issuers. ``begin_anew`` comes before anything else, and again in a forked child."""

    def __init__(
        self,
        issuers: Mapping[str | None, KnownIssuer],
        options: Options,
        runtime: type[AsyncRuntime | BlockingRuntime],
    ) -> None:
        verifiers = {name: known.verifier for name, known in issuers.items()}
        self._issuers = issuers
        self._router = TokenRouter(verifiers)
        self._remote = [verifier.keys for verifier in verifiers.values() if isinstance(verifier.keys, RemoteKeys)]
        self.has_all_keys = not self._remote
        """Whether all keys were given: then ``check`` knows as much as ``verify``, and nothing is waited for."""
        self._options = options
        self._runtime = runtime

    def begin_anew(self, reporter: Reporter) -> None:
        """No token remembered, and locks of its own; keys that were fetched are kept."""
        for keys in self._remote:
            keys.begin_anew(self._runtime.mutex(), reporter)
        self._tokens = RememberedTokens(
            self._router,
            record_key=lambda claims: self._issuers[claims.issuer].keys.record(claims.subject),
            entries=self._options.token_entries,
            most_bytes=self._options.token_bytes,
            mutex=self._runtime.mutex(),
        )
        self.find = self._tokens.find
        """See ``RememberedTokens.find``; of it itself, since it is asked at every request."""

    def fetchers(self, runtime: AsyncRuntime | BlockingRuntime) -> Fetchers:
        """Who fetches the keys of each provider, waiting in that way."""
        return {keys: KeyFetcher(keys, self._get(keys.provider), runtime) for keys in self._remote}

    def check(self, token: str, credentials: str | bytes) -> KnownToken:
        """See ``RememberedTokens.verify``."""
        return self._tokens.verify(token, credentials, self._options.clock.wall())

    async def verify(self, token: str, credentials: str | bytes, fetchers: Callable[[], Fetchers]) -> KnownToken:
        """See ``RememberedTokens.verify``; where its key is not known, waits for it to be fetched."""
        if any(keys.settled() is None for keys in self._remote):
            for fetcher in fetchers().values():
                fetcher.renew_if_due()
        return await self._checked(partial(self.check, token, credentials), fetchers)

    async def recognise(self, token: str, now: float, fetchers: Callable[[], Fetchers]) -> Claims:
        """See ``TokenVerifier.recognise``; waits as ``verify`` does."""
        return await self._checked(partial(self._router.recognise, token, now), fetchers)

    async def obey(
        self, logout_token: str, now: float, rules: LogoutRules, fetchers: Callable[[], Fetchers]
    ) -> LogoutOrder:
        """See ``LogoutRules.read``; waits as ``verify`` does."""
        return await self._checked(
            lambda: rules.read(self._router.pick(logout_token), logout_token, now),
            fetchers,
        )

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._tokens)

    def __repr__(self) -> str:
        return repr(self._router)

    async def _checked(self, check: Callable[[], T], fetchers: Callable[[], Fetchers]) -> T:
        try:
            return check()
        except UnknownKeyError as exc:
            unknown = exc
        return await fetchers()[unknown.source].retry(check, unknown)

    def _get(self, provider: JWKS) -> Get:
        from authcache_middleware.tokens.fetch import AsyncGet, BlockingGet  # needs httpx, as its provider did

        return (AsyncGet if self._runtime is AsyncRuntime else BlockingGet)(provider.transport)
