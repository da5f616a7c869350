"""Every forgery is refused, for the reason given and in a word, and every odd but good token is taken."""

import forgeries
import pytest
from forgeries import ALGORITHMS, NOW, corpus, options, seed_of_this_run

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.tokens.strict import is_opaque
from authcache_middleware.tokens.verifier import TokenVerifier

REASONS = {"oversized", "malformed", "header", "typ", "algorithm", "key", "signature", "claims"} | {
    *("issuer", "audience", "subject", "lifetime", "expired", "not_yet_valid")
}


@pytest.fixture(scope="module")
def seed():
    return seed_of_this_run()


@pytest.fixture(scope="module")
def cases(seed):
    return forgeries.cases(seed)


def verdict(verifier, case):
    """``None`` where the verifier does as the case says, else what it does."""
    try:
        verifier.verify(case.token, NOW)
    except InvalidTokenError as refusal:
        if case.accept:
            return f"refused for {refusal.reason}"
        if case.reasons is not None and refusal.reason not in case.reasons:
            return f"refused for {refusal.reason}, not {'/'.join(sorted(case.reasons))}"
        # One word of ours, nothing attached: no token, claim or library's message can be in it.
        said = (str(refusal), repr(refusal), refusal.__cause__, refusal.__context__)
        if refusal.reason not in REASONS or said != (
            refusal.reason,
            f"InvalidTokenError({refusal.reason!r})",
            None,
            None,
        ):
            return "says too much"
        return None
    return None if case.accept else "accepted"


@pytest.mark.parametrize("family", ALGORITHMS)
def test_the_corpus_is_judged_rightly(family, seed, cases):
    verifier = TokenVerifier(**options(seed, family))
    verdicts = {case: verdict(verifier, case) for case in cases if case.family == family}
    wrong = [f"{case.name}: {said}" for case, said in verdicts.items() if said is not None]
    assert not wrong, f"AUTHCACHE_SEED={seed}: " + "; ".join(wrong)


@pytest.mark.parametrize("family", ALGORITHMS)
def test_another_family_takes_none_of_it(family, seed, cases):
    verifier = TokenVerifier(**options(seed, family))
    for case in cases:
        if case.accept and case.family != family:
            with pytest.raises(InvalidTokenError, match="algorithm"):
                verifier.verify(case.token, NOW)


def test_the_corpus_is_large_and_has_both_kinds(cases):
    assert len(cases) >= 300
    for family in ALGORITHMS:
        accepted = [case.accept for case in cases if case.family == family]
        assert accepted.count(True) >= 20
        assert accepted.count(False) >= 200


def test_the_corpus_is_the_same_for_the_same_seed(seed, cases):
    assert len({(case.family, case.name) for case in cases}) == len(cases)

    def told(case):
        return case.family, case.name, case.accept, case.reasons

    assert [told(case) for case in corpus(seed)] == [told(case) for case in cases]
    deterministic = {"HS256", "RS256", "EdDSA"}
    again = {case.token for case in corpus(seed) if case.accept and case.family in deterministic}
    assert again == {case.token for case in cases if case.accept and case.family in deterministic}


def test_no_jwt_good_or_forged_is_shown_to_a_provider_as_opaque(cases):
    """But for those that are none: what is not in the form of a JWT, or has no header."""
    for case in cases:
        if case.accept or (case.reasons and case.reasons.isdisjoint({"malformed", "header"})):
            assert not is_opaque(case.token), case.name
    assert any(is_opaque(case.token) for case in cases)
