"""Halves of characters, joined and held back."""

from aigend.providers.surrogates import PairJoiner, mended
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(alphabet=st.characters(exclude_categories=())) | st.text(alphabet="a\ud83d\ude00\U0001f600")


@given(st.lists(TEXTS))
def test_pieces_add_up_to_the_mended_whole(pieces: list[str]) -> None:
    """However a text is cut, its pieces show the same as the whole, and each can be encoded."""
    joiner = PairJoiner()
    shown = [*(joiner.take(piece) for piece in pieces), joiner.rest()]
    assert "".join(shown) == mended("".join(pieces))
    assert all(piece.encode() is not None for piece in shown)


@given(st.text())
def test_whole_text_stays_as_it_is(text: str) -> None:
    """Text without halves is not touched."""
    assert mended(text) == text
