import base64
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.tokens.strict import MAX_HEADER, MAX_TOKEN, parse_object, split_token

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
HEADER = base64.urlsafe_b64encode(b'{"a":1}').decode().rstrip("=")


def b64(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def outcome(read, *args):
    """What ``read`` returns, or the reason of its refusal, to which nothing is attached."""
    try:
        return read(*args)
    except InvalidTokenError as refusal:
        attached = refusal.__context__ or refusal.__cause__
        return repr(attached) if attached else refusal.reason


@given(st.binary(min_size=1, max_size=70), st.binary(min_size=1, max_size=70))
def test_the_parts_are_those_that_were_joined(claims, signature):
    parts = split_token(f"{HEADER}.{b64(claims)}.{b64(signature)}")
    assert parts.header == {"a": 1}
    assert parts.signed == f"{HEADER}.{b64(claims)}".encode()
    assert (parts.claims_json, parts.signature) == (claims, signature)


def test_of_all_spellings_of_an_octet_string_only_one_is_taken():
    taken = 0
    for ending in [*ALPHABET, *(a + b for a in "AZ-" for b in ALPHABET), *("AZ" + c for c in ALPHABET)]:
        for length in (0, 4):
            segment = "-_09"[:length] + ending
            octets = outcome(lambda text: split_token(text).signature, f"{HEADER}.{HEADER}.{segment}")
            if octets == "malformed":
                padded = segment + "=" * (-len(segment) % 4)
                assert len(segment) % 4 == 1 or b64(base64.urlsafe_b64decode(padded)) != segment
            else:
                taken += 1
                assert b64(octets) == segment
    assert taken == 2 * (3 * 4 + 16)


@pytest.mark.parametrize(
    "character", [chr(n) for n in range(256) if chr(n) not in ALPHABET + "."] + ["٣", "\uff41", "\u017f"]
)
def test_a_character_outside_the_alphabet_is_refused_anywhere(character):
    added = f"{HEADER}{character}.AAAA.AAAA", f"{HEADER}.AA{character}AA.AAAA", f"{HEADER}.AAAA.AAAA{character}"
    foreign = [
        f"A{character * 4}AAA",
        f"{character}AAA",
        f"A{character}AA",
        f"AA{character}A",
        f"AAA{character}",
        f"AAAAA{character}AA",
    ]
    in_place = [f"{HEADER}.{segment}.AAAA" for segment in foreign] + [f"{HEADER}.AAAA.{segment}" for segment in foreign]
    for token in (*added, *in_place, *(f"{segment}.AAAA.AAAA" for segment in foreign)):
        with pytest.raises(InvalidTokenError, match="malformed"):
            split_token(token)


def test_sizes_are_taken_up_to_the_limit_and_refused_beyond_before_anything_is_read():
    filler = json.dumps({"a": "x" * (MAX_HEADER * 3 // 4 - 9)}).encode()
    header = b64(filler)
    assert len(header) == MAX_HEADER
    rest = MAX_TOKEN - len(header) - len("..AAAA")
    assert len(split_token(f"{header}.{'A' * rest}.AAAA").claims_json) == rest * 3 // 4
    for token in (f"{header}.{'A' * rest}.AAAAA", "A" * (MAX_HEADER + 1) + ".AAAA.AAAA", "\n" * (MAX_TOKEN + 1)):
        with pytest.raises(InvalidTokenError, match="oversized"):
            split_token(token)


@pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null", b'{"a":1,"a":1}', b"", b'{"a":NaN}'])
def test_a_header_that_is_not_one_object_is_refused(text):
    with pytest.raises(InvalidTokenError, match=r"header|malformed"):
        split_token(f"{b64(text)}.AAAA.AAAA")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5), st.booleans())
def test_an_object_is_read_as_it_was_written(members, escaped):
    text = json.dumps(members, ensure_ascii=escaped)
    assert parse_object(text.encode(), "claims") == members
    assert parse_object(f" \t\r\n{text}\n ".encode(), "claims") == members


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-16")))
def test_whatever_is_not_an_object_is_refused_in_the_callers_word(text):
    result = outcome(parse_object, text, "word")
    assert isinstance(result, dict) or result == "word"


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' * 2000,
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":"\\ud83d\\ude00 \\ud83d"}',
        b'{"a":"\\ude00\\ud83d"}',
        b'{"\\ud800":1}',
        b'{"a":{"b":1,"\\u0062":2}}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1e400}',
        b'{"a":1}{"a":1}',
        b'\xef\xbb\xbf{"a":1}',
    ],
    ids=range(10),
)
def test_traps_are_refused(text):
    limit = sys.getrecursionlimit()
    with pytest.raises(InvalidTokenError, match="claims"):
        parse_object(text, "claims")
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("one", [b"[%b]", b'{"a":%b}'])
def test_levels_have_a_bound_which_is_no_recursion_limit(one):
    def nested(levels: int) -> bytes:
        text = b"1"
        for _ in range(levels - 1):
            text = one % text
        return b'{"a":%b,"b":[]}' % text

    assert outcome(parse_object, nested(64), "claims") != "claims"
    assert outcome(parse_object, nested(65), "claims") == "claims"
    assert outcome(parse_object, b'{"a":[%b]}' % b",".join([b"[]"] * 100), "claims") != "claims"


def test_paired_surrogates_are_a_character_and_escaped_backslashes_are_none():
    assert parse_object(b'{"a":"\\ud83d\\ude00","b":"\\\\ud800"}', "claims") == {"a": "😀", "b": "\\ud800"}
