"""What a provider asks for by itself: its logout tokens, obeyed; told once for both faces."""

from __future__ import annotations

from typing import Final

from authcache_middleware.engine import Engine
from authcache_middleware.options import Options
from authcache_middleware.tokens.logout import LogoutRules
from authcache_middleware.verification import Providers, Verification

__all__ = ["ProviderCalls"]

_USUAL_RULES: Final = LogoutRules()


class ProviderCalls:
    """The part of a ``Story`` that is called for a provider."""

    _options: Options
    _tokens: Verification

    def _engine(self) -> Engine:
        raise NotImplementedError

    def _providers(self) -> Providers:
        raise NotImplementedError

    async def backchannel_logout(self, logout_token: str, rules: LogoutRules = _USUAL_RULES) -> None:
        """End what a logout token names: one session (``sub`` and ``sid``), or all of the user's (``sub`` alone).

        OpenID Connect Back-Channel Logout 1.0, section 2.6; ``BackchannelLogout`` of ``.asgi`` and ``.wsgi`` is the
        endpoint that calls this. It is verified with its issuer's keys and algorithms, and obeyed once. One that names
        a session alone is refused. Waits as ``logout`` does. Raises ``InvalidTokenError``, and ``UnavailableError``
        where Redis has not confirmed it: the same token may be handed in again.
        """
        order = await self._tokens.obey(logout_token, self._options.clock.wall(), rules, self._providers)
        await self._engine().of(order.issuer).orders.obey(order)
