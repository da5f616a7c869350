import pytest

from authcache_middleware.bearer.scopes import Needs, authorise, needed_scopes
from authcache_middleware.errors import ConfigurationError, InsufficientScopeError, MissingTokenError
from authcache_middleware.users.user import ANONYMOUS, NO_CREDENTIALS, Credentials

USER = object()


def request(*granted, roles=()):
    return {"user": USER, "auth": Credentials(NO_CREDENTIALS.claims, granted, roles)}


def refusal(needs, *granted, roles=()):
    """The reason for which it is refused, with the scopes that the client is told; ``None`` where it is not."""
    try:
        assert authorise(request(*granted, roles=roles), "user", "auth", needs) is USER
    except InsufficientScopeError as refused:
        return refused.reason, refused.scopes
    return None


class Other:
    """What another authentication middleware puts there: its own nobody, its own scopes."""

    is_authenticated = False
    scopes = ("a",)


@pytest.mark.parametrize("granted", [("a",), ("a", "b"), ("b", "c", "a")])
def test_returns_the_user_whose_token_grants_all(granted):
    assert authorise(request(*granted), "user", "auth", Needs(("a",))) is USER


def test_without_scopes_any_known_user_may_enter():
    assert authorise(request(), "user", "auth", Needs(())) is USER


@pytest.mark.parametrize("granted", [(), ("b",), ("a:read",), ("A",), ("a b",)])
def test_refuses_where_one_is_missing_and_names_all(granted):
    with pytest.raises(InsufficientScopeError) as refused:
        authorise(request(*granted), "user", "auth", Needs(("a", "b")))
    assert refused.value.scopes == ("a", "b")


@pytest.mark.parametrize("needed", [(), ("a",)])
def test_the_anonymous_user_is_asked_for_a_token(needed):
    with pytest.raises(MissingTokenError):
        authorise({"user": ANONYMOUS, "auth": NO_CREDENTIALS}, "user", "auth", Needs(needed))


@pytest.mark.parametrize(
    ("user", "auth"), [(USER, NO_CREDENTIALS), (Other(), NO_CREDENTIALS), (ANONYMOUS, request("a")["auth"])]
)
@pytest.mark.parametrize("needed", [(), ("a",)])
def test_half_of_the_anonymous_user_is_enough_to_be_asked_for_a_token(user, auth, needed):
    with pytest.raises(MissingTokenError):
        authorise({"user": user, "auth": auth}, "user", "auth", Needs(needed))


@pytest.mark.parametrize("user", [Other(), USER, ANONYMOUS, None])
@pytest.mark.parametrize("auth", [Other(), None, object(), ["a"]])
@pytest.mark.parametrize("needed", [(), ("a",)])
def test_the_word_of_another_middleware_lets_nobody_in(user, auth, needed):
    with pytest.raises(ConfigurationError, match="app: "):
        authorise({"user": user, "auth": auth}, "user", "auth", Needs(needed))


@pytest.mark.parametrize("granted", ["a:read", "A", "ab", "a b"])
def test_a_scope_is_granted_by_its_very_name(granted):
    with pytest.raises(InsufficientScopeError):
        authorise(request(granted), "user", "auth", Needs(("a",)))


@pytest.mark.parametrize("said", [{}, {"user": USER}, {"auth": Other()}, {"auth": request("a")["auth"]}])
def test_without_the_middleware_nobody_enters(said):
    with pytest.raises(ConfigurationError, match="app: "):
        authorise(said, "user", "auth", Needs(()))


@pytest.mark.parametrize("scope", ["", "a b", 'a"', "a\\", "\u00e9", "a\n", ["a"], None])
def test_refuses_what_is_no_scope(scope):
    with pytest.raises(ConfigurationError, match="scopes: "):
        needed_scopes((scope,))


def test_keeps_what_is_one():
    assert needed_scopes(("orders:write", "https://x/y.z")) == ("orders:write", "https://x/y.z")


@pytest.mark.parametrize(
    ("needs", "granted", "roles", "expected"),
    [
        (Needs(any_scope=["a", "b"]), ("b", "x"), (), None),
        (Needs(any_scope=["a", "b"]), ("x",), (), ("scope", ("a", "b"))),
        (Needs(any_scope=["a", "b"]), (), ("a",), ("scope", ("a", "b"))),
        (Needs(("a",), any_scope=["b", "c"]), ("a", "c"), (), None),
        (Needs(("a",), any_scope=["b", "c"]), ("a",), (), ("scope", ("a", "b", "c"))),
        (Needs(("a",), any_scope=["b", "c"]), ("b", "c"), (), ("scope", ("a", "b", "c"))),
        (Needs(("a",), any_scope=["a", "b"]), (), (), ("scope", ("a", "b"))),
        (Needs(roles=["r", "s"]), (), ("s", "r"), None),
        (Needs(roles=["r", "s"]), ("r", "s"), ("r",), ("role", ())),
        (Needs(roles=["r"]), (), ("R", "r ", "rs"), ("role", ())),
        (Needs(any_role=["r", "s"]), (), ("s",), None),
        (Needs(any_role=["r", "s"]), ("r",), (), ("role", ())),
        (Needs(roles=["r"], any_role=["s", "t"]), (), ("s", "t"), ("role", ())),
        (Needs(roles=["r"], any_role=["s", "t"]), (), ("r", "t"), None),
        (Needs(("a",), roles=["r"]), (), ("r",), ("scope", ("a",))),
        (Needs(("a",), roles=["r"]), ("a",), (), ("role", ())),
        (Needs(("a",), any_role=(role for role in "rs")), ("a",), ("s",), None),
    ],
)
def test_all_that_is_named_is_needed(needs, granted, roles, expected):
    assert refusal(needs, *granted, roles=roles) == expected
    assert refusal(needs, *granted, roles=roles) == expected, "asked twice"


@pytest.mark.parametrize("says", [False, None, 1, "yes", [True], object()])
def test_the_applications_own_rule_must_say_true(says):
    assert refusal(Needs(allows=lambda user, auth: says)) == ("rule", ())


def test_the_rule_is_told_the_user_and_the_credentials_and_asked_last():
    asked = []

    def allows(user, auth):
        asked.append((user, auth.scopes, auth.roles))
        return True

    needs = Needs(("a",), roles=["r"], allows=allows)
    assert refusal(needs, "a") == ("role", ())
    assert refusal(needs, roles=("r",)) == ("scope", ("a",))
    assert asked == []
    assert refusal(needs, "a", roles=("r",)) is None
    assert asked == [(USER, ("a",), ("r",))]


def test_what_the_rule_raises_is_the_applications():
    with pytest.raises(ZeroDivisionError):
        refusal(Needs(allows=lambda user, auth: 1 / 0))


async def later(user, auth):
    return True


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *((argument, value) for argument in ("any_scope", "roles", "any_role") for value in ([], "admin", b"x", {}, 1)),
        *((argument, [value]) for argument in ("any_scope", "roles", "any_role") for value in ("", None, 1, ["a"])),
        ("any_scope", ["a b"]),
        ("allows", True),
        ("allows", later),
    ],
)
def test_refuses_what_names_nothing(argument, value):
    with pytest.raises(ConfigurationError) as wrong:
        Needs(**{argument: value})
    assert wrong.value.argument == argument
