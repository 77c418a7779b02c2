"""`_core.sha512_crypt` against the specification's vectors and the C library's crypt(3)."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon import _core

# Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512": over-long salts cut, too few rounds raised, as it says.
VECTORS = [
    (5000, "saltstring", "Hello world!",
     "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"),
    (10000, "saltstringsaltst", "Hello world!",
     "OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."),
    (5000, "toolongsaltstrin", "This is just a test",
     "lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"),
    (1400, "anotherlongsalts", "a very much longer text to encrypt.  This one even stretches over morethan one line.",
     "POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"),
    (77777, "short", "we have a short salt string but not a short password",
     "WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0"),
    (1000, "roundstoolow", "the minimum number is still observed",
     "kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX."),
]  # fmt: skip
SALTS = st.text("./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", min_size=1, max_size=16)
SECRETS = st.binary(max_size=150).filter(lambda secret: 0 not in secret)


def c_library() -> Callable[[str, str], str] | None:
    """Python's own binding of crypt(3), which left the standard library with 3.13."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            from crypt import crypt  # noqa: PLC0415 - may not be there
        except ImportError:
            return None
    return crypt


@pytest.mark.parametrize(("rounds", "salt", "secret", "expected"), VECTORS)
def test_hashes_are_the_specification_s(rounds: int, salt: str, secret: str, expected: str) -> None:
    """Every published vector comes out, rounds written."""
    assert _core.sha512_crypt([secret.encode()], [salt], rounds=rounds) == [f"$6$rounds={rounds}${salt}${expected}"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40), SALTS), max_size=12)
)
def test_hashes_are_the_c_library_s(pairs: list[tuple[str, str]]) -> None:
    """Any text hashes to what crypt(3) makes of it; where Python has no crypt(3), to what it makes alone."""
    hashes = _core.sha512_crypt([secret.encode() for secret, _ in pairs], [salt for _, salt in pairs], rounds=1000)
    reference = c_library()
    for (secret, salt), result in zip(pairs, hashes, strict=True):
        if reference is not None:
            assert result == reference(secret, f"$6$rounds=1000${salt}$")
        else:
            assert [result] == _core.sha512_crypt([secret], [salt], rounds=1000)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SECRETS, SALTS), max_size=20), st.randoms(), st.integers(1, 8))
def test_company_order_and_threads_do_not_matter(pairs: list[tuple[bytes, str]], order: object, threads: int) -> None:
    """A secret's hash depends on it, its salt and the rounds alone."""
    alone = [_core.sha512_crypt([secret], [salt], rounds=1000)[0] for secret, salt in pairs]
    places = list(range(len(pairs)))
    order.shuffle(places)  # type: ignore[attr-defined]
    together = _core.sha512_crypt(
        [pairs[place][0] for place in places], [pairs[place][1] for place in places], rounds=1000, threads=threads
    )
    assert together == [alone[place] for place in places]


@pytest.mark.parametrize("salt", ["", "a" * 17, "a$b", "a:b", "a b", "a\n", "\u00e9"])
def test_salts_out_of_bounds_are_refused(salt: str) -> None:
    """A salt that crypt(3) would cut or misread is an error."""
    with pytest.raises(_core.TableError, match="salt must be"):
        _core.sha512_crypt([b"x"], [salt], rounds=1000)


@pytest.mark.parametrize("rounds", [0, 999, 1_000_000_000])
def test_rounds_out_of_bounds_are_refused(rounds: int) -> None:
    """Rounds are not moved into bounds silently."""
    with pytest.raises(_core.TableError, match=f"rounds must be from 1000 to 999999999: {rounds}"):
        _core.sha512_crypt([b"x"], ["salt"], rounds=rounds)


@pytest.mark.parametrize("secret", [b"geheim\0", b"geheim" * 200])
def test_secrets_out_of_bounds_are_refused_unseen(secret: bytes) -> None:
    """The message says how long the secret is and not what."""
    with pytest.raises(_core.TableError, match="secret must be") as caught:
        _core.sha512_crypt([b"fine", secret], ["salt", "salt"], rounds=1000)
    assert "geheim" not in str(caught.value)


def test_counts_must_agree() -> None:
    """A secret without a salt is an error; nothing of nothing is nothing."""
    with pytest.raises(_core.TableError, match="as many as each other: 2 and 1"):
        _core.sha512_crypt([b"x", b"y"], ["salt"], rounds=1000)
    with pytest.raises(_core.TableError, match="threads must be from 1 to 64: 0"):
        _core.sha512_crypt([b"x"], ["salt"], rounds=1000, threads=0)
    assert _core.sha512_crypt([], [], rounds=1000) == []
