import pytest

from authcache_middleware.bearer.scopes import authorise, needed_scopes
from authcache_middleware.errors import ConfigurationError, InsufficientScopeError, MissingTokenError
from authcache_middleware.users.user import ANONYMOUS, NO_CREDENTIALS, Credentials

USER = object()


def request(*granted):
    return {"user": USER, "auth": Credentials(NO_CREDENTIALS.claims, granted)}


class Other:
    """What another authentication middleware puts there: its own nobody, its own scopes."""

    is_authenticated = False
    scopes = ("a",)


@pytest.mark.parametrize("granted", [("a",), ("a", "b"), ("b", "c", "a")])
def test_returns_the_user_whose_token_grants_all(granted):
    assert authorise(request(*granted), "user", "auth", ("a",)) is USER


def test_without_scopes_any_known_user_may_enter():
    assert authorise(request(), "user", "auth", ()) is USER


@pytest.mark.parametrize("granted", [(), ("b",), ("a:read",), ("A",), ("a b",)])
def test_refuses_where_one_is_missing_and_names_all(granted):
    with pytest.raises(InsufficientScopeError) as refused:
        authorise(request(*granted), "user", "auth", ("a", "b"))
    assert refused.value.scopes == ("a", "b")


@pytest.mark.parametrize("needed", [(), ("a",)])
def test_the_anonymous_user_is_asked_for_a_token(needed):
    with pytest.raises(MissingTokenError):
        authorise({"user": ANONYMOUS, "auth": NO_CREDENTIALS}, "user", "auth", needed)


@pytest.mark.parametrize(
    ("user", "auth"), [(USER, NO_CREDENTIALS), (Other(), NO_CREDENTIALS), (ANONYMOUS, request("a")["auth"])]
)
@pytest.mark.parametrize("needed", [(), ("a",)])
def test_half_of_the_anonymous_user_is_enough_to_be_asked_for_a_token(user, auth, needed):
    with pytest.raises(MissingTokenError):
        authorise({"user": user, "auth": auth}, "user", "auth", needed)


@pytest.mark.parametrize("user", [Other(), USER, ANONYMOUS, None])
@pytest.mark.parametrize("auth", [Other(), None, object(), ["a"]])
@pytest.mark.parametrize("needed", [(), ("a",)])
def test_the_word_of_another_middleware_lets_nobody_in(user, auth, needed):
    with pytest.raises(ConfigurationError, match="app: "):
        authorise({"user": user, "auth": auth}, "user", "auth", needed)


@pytest.mark.parametrize("granted", ["a:read", "A", "ab", "a b"])
def test_a_scope_is_granted_by_its_very_name(granted):
    with pytest.raises(InsufficientScopeError):
        authorise(request(granted), "user", "auth", ("a",))


@pytest.mark.parametrize("said", [{}, {"user": USER}, {"auth": Other()}, {"auth": request("a")["auth"]}])
def test_without_the_middleware_nobody_enters(said):
    with pytest.raises(ConfigurationError, match="app: "):
        authorise(said, "user", "auth", ())


@pytest.mark.parametrize("scope", ["", "a b", 'a"', "a\\", "\u00e9", "a\n", ["a"], None])
def test_refuses_what_is_no_scope(scope):
    with pytest.raises(ConfigurationError, match="scopes: "):
        needed_scopes((scope,))


def test_keeps_what_is_one():
    assert needed_scopes(("orders:write", "https://x/y.z")) == ("orders:write", "https://x/y.z")
