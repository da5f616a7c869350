"""From a token to its claims with the keys of the moment: what is remembered, who verifies, and who is asked.

One for a face in a process. What waits belongs to an event loop or to the threads of the process, and is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, TypeVar, final

from authcache_middleware.cache.answers import StoredAnswers
from authcache_middleware.cache.store import Store
from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.issuers import Issuer
from authcache_middleware.options import Options
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import AsyncPlaces, AsyncRuntime, BlockingPlaces, BlockingRuntime
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.introspection import Introspection, Post
from authcache_middleware.tokens.introspector import Introspector
from authcache_middleware.tokens.jwks import JWKS, Get
from authcache_middleware.tokens.keys import Keys, NoKeys
from authcache_middleware.tokens.logout import LogoutOrder, LogoutRules
from authcache_middleware.tokens.remembered import KnownToken, RememberedTokens
from authcache_middleware.tokens.remote import KeyFetcher, RemoteKeys, UnknownKeyError
from authcache_middleware.tokens.router import TokenRouter
from authcache_middleware.tokens.sealed import AnswerSeal
from authcache_middleware.tokens.strict import is_opaque
from authcache_middleware.tokens.verifier import TokenVerifier
from authcache_middleware.users.keys import UserKeys

__all__ = ["NO_PROVIDERS", "KnownIssuer", "Providers", "Verification", "known_issuers"]
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
        verifier = TokenVerifier(
            keys=_keys(says, options),
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


def _keys(says: Issuer, options: Options) -> Keys | RemoteKeys | NoKeys:
    if says.keys is None:
        return NoKeys()
    if isinstance(says.keys, JWKS):
        return RemoteKeys(says.keys, says.algorithms, now=options.clock.monotonic)
    return says.keys


class Providers(NamedTuple):
    """Who asks the providers, in one of the ways to wait."""

    fetchers: Mapping[RemoteKeys, KeyFetcher]
    """For keys, by what they are fetched for."""
    introspector: Introspector | None
    """About opaque tokens; ``None`` where none are taken."""


NO_PROVIDERS: Final = Providers({}, None)


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
        self._asked = next((known for known in issuers.values() if known.says.introspection is not None), None)
        self._remote = [verifier.keys for verifier in verifiers.values() if isinstance(verifier.keys, RemoteKeys)]
        self.has_all_keys = not self._remote and self._asked is None
        """Whether nobody need ever be asked: then ``check`` knows as much as ``verify``, and nothing is waited for."""
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
        # Of these themselves, since they are asked at every request.
        self.find = self._tokens.find
        """See ``RememberedTokens.find``."""
        self.peek = self._tokens.peek
        """See ``RememberedTokens.peek``."""
        self.verify_new = self._tokens.verify_new
        """See ``RememberedTokens.verify_new``; where ``has_all_keys``."""

    def providers(self, runtime: AsyncRuntime | BlockingRuntime, store: Store, reporter: Reporter) -> Providers:
        """Who asks each provider, waiting in that way."""
        fetchers = {keys: KeyFetcher(keys, self._get(keys.provider), runtime) for keys in self._remote}
        known = self._asked
        if known is None or known.says.introspection is None:
            return Providers(fetchers, None)
        terms, places = known.says.introspection, AsyncPlaces if self._runtime is AsyncRuntime else BlockingPlaces
        introspector = Introspector(
            terms,
            known.verifier,
            post=self._post(terms),
            shared=_shared(terms, known, store),
            places=places(terms.concurrency),
            runtime=runtime,
            clock=self._options.clock,
            reporter=reporter,
            entries=self._options.token_entries,
            most_bytes=self._options.token_bytes,
        )
        return Providers(fetchers, introspector)

    def check(self, token: str, credentials: str | bytes) -> KnownToken:
        """See ``RememberedTokens.verify``."""
        return self._tokens.verify(token, credentials, self._options.clock.wall())

    async def verify(self, token: str, credentials: str | bytes, providers: Callable[[], Providers]) -> KnownToken:
        """See ``RememberedTokens.verify``; where its key is not known, or it is opaque, waits for its provider."""
        if self._asked is not None and is_opaque(token):
            introspector = providers().introspector
            assert introspector is not None  # noqa: S101 - since somebody is asked
            try:
                found = await introspector.verify(token)
            except (
                InvalidTokenError,
                UnavailableError,
            ):  # a clock that is set back must not bring back what was said before
                self._tokens.forget(token)
                raise
            return self._tokens.introspected(found, token, credentials, self._options.clock.wall())
        if any(keys.settled() is None for keys in self._remote):
            for fetcher in providers().fetchers.values():
                fetcher.renew_if_due()
        return await self._checked(partial(self.check, token, credentials), providers)

    async def recognise(self, token: str, now: float, providers: Callable[[], Providers]) -> Claims:
        """See ``TokenVerifier.recognise`` and ``Introspector.recognise``; waits as ``verify`` does."""
        if self._asked is not None and is_opaque(token):
            introspector = providers().introspector
            assert introspector is not None  # noqa: S101 - since somebody is asked
            return (await introspector.recognise(token)).claims
        return await self._checked(partial(self._router.recognise, token, now), providers)

    async def forget(self, token: str, providers: Callable[[], Providers]) -> None:
        """Drop what is kept of an opaque token, and what is shared."""
        if self._asked is not None and is_opaque(token):
            self._tokens.forget(token)
            introspector = providers().introspector
            assert introspector is not None  # noqa: S101 - since somebody is asked
            await introspector.forget(token)

    async def obey(
        self, logout_token: str, now: float, rules: LogoutRules, providers: Callable[[], Providers]
    ) -> LogoutOrder:
        """See ``LogoutRules.read``; waits as ``verify`` does."""
        return await self._checked(
            lambda: rules.read(self._router.pick(logout_token), logout_token, now),
            providers,
        )

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._tokens)

    def __repr__(self) -> str:
        return repr(self._router)

    async def _checked(self, check: Callable[[], T], providers: Callable[[], Providers]) -> T:
        try:
            return check()
        except UnknownKeyError as exc:
            unknown = exc
        return await providers().fetchers[unknown.source].retry(check, unknown)

    def _get(self, provider: JWKS) -> Get:
        from authcache_middleware.tokens.fetch import AsyncGet, BlockingGet  # needs httpx, as its provider did

        return (AsyncGet if self._runtime is AsyncRuntime else BlockingGet)(provider.transport)

    def _post(self, terms: Introspection) -> Post:
        from authcache_middleware.tokens.fetch import AsyncPost, BlockingPost

        return (AsyncPost if self._runtime is AsyncRuntime else BlockingPost)(terms.transport)


def _shared(terms: Introspection, known: KnownIssuer, store: Store) -> StoredAnswers | None:
    if terms.cache_secret is None:
        return None
    seal = AnswerSeal(terms.cache_secret, terms.url, terms.client_id, known.says.issuer or "")
    return StoredAnswers(store, known.keys, seal, max_bytes=terms.transport.max_bytes)
