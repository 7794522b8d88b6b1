"""What folding leaves alone and what it makes equal."""

import time
import unicodedata

import pytest
from aigend.cache.folding import RUN_LIMIT, fold_text
from hypothesis import given
from hypothesis import strategies as st

PIECES = st.sampled_from(
    [
        *(
            "a",
            "B",
            " ",
            "  ",
            "\t",
            "\n",
            "\r\n",
            "    ",
            "```",
            "````",
            "~~~",
            "`",
            "~",
            "py",
            "\n\n",
            "\v",
            "\f",
            "\x85",
            "\xa0",
        ),
        *(
            "é",
            "e\u0301",
            "H\u0331",
            "\u1fef",
            "\u1fef\u1fef\u1fef",
            "Σ",
            "İ",
            "\u212a",
            "한",
            "\u1112\u1161\u11ab",
            "\u0345",
            "\u2028",
        ),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=24).map("".join), st.text(st.characters(exclude_categories=["Cs"]), max_size=60))

GOLDEN = [
    pytest.param("  What is\tC++ \n and  C? ", "what is c++ and c?", id="white-space-and-case"),
    pytest.param("C", "c", id="c"),
    pytest.param("C++", "c++", id="c-plus-plus"),
    pytest.param("a\r\nb", "a b", id="crlf"),
    pytest.param("안녕하세요", "안녕하세요", id="hangul-nfc"),
    pytest.param(unicodedata.normalize("NFD", "안녕하세요"), "안녕하세요", id="hangul-nfd"),
    pytest.param("ÄRGER", "ärger", id="umlaut"),
    pytest.param("A\u030aB", "åb", id="composed"),
    pytest.param("H\u0331", "\u1e96", id="composes-in-lower-case-only"),
    pytest.param("№ ½ ﬁ ²", "№ ½ ﬁ ²", id="compatibility-kept"),
    pytest.param("a\xa0 b\v c", "a\xa0 b\v c", id="other-spaces-kept"),
    pytest.param("Run\n    X  =  1\nNow", "run\n    X  =  1\nnow", id="four-spaces"),
    pytest.param("Run\n\tX  =  1\n\tY\nNow", "run\n\tX  =  1\n\tY\nnow", id="tab"),
    pytest.param("Run\n   X  =  1", "run x = 1", id="three-spaces-are-prose"),
    pytest.param("    A  B", "    A  B", id="begins-indented"),
    pytest.param("See\n\n```Py\nA  = 1\n\n B\n```\n\nWhat  NOW", "see\n```Py\nA  = 1\n\n B\n```\nwhat now", id="fence"),
    pytest.param("~~~\nA  ```\n~~~~ \nB", "~~~\nA  ```\n~~~~ \nb", id="tilde-fence"),
    pytest.param("````\nA\n```\nB\n````\nC", "````\nA\n```\nB\n````\nc", id="longer-fence"),
    pytest.param("X\n```\nA  B\n\n", "x\n```\nA  B\n\n", id="unclosed-fence"),
    pytest.param("```A`  B\nC", "```a` b c", id="inline-code-is-prose"),
    pytest.param("```\r\nA  B\r\n```\r\nC  D", "```\r\nA  B\r\n```\r\nc d", id="fence-with-crlf"),
    pytest.param("\u1fef\u1fef\u1fef  A", "\u1fef\u1fef\u1fef  A", id="would-compose-to-a-fence"),
    pytest.param("", "", id="empty"),
    pytest.param(" \n\t", "\t", id="a-line-that-begins-with-a-tab"),
]


@pytest.mark.parametrize(("text", "folded"), GOLDEN)
def test_golden_texts(text: str, folded: str) -> None:
    """A folded text is spelled exactly so; every stored key depends on it."""
    assert fold_text(text, lower=True) == folded


def test_case_is_kept_where_it_matters() -> None:
    """Without `lower` only composition and white space are made equal."""
    assert fold_text(" Wer  IST\nda ", lower=False) == "Wer IST da"


@given(TEXTS, st.booleans())
def test_folding_twice_changes_nothing_more(text: str, lower: bool) -> None:  # noqa: FBT001 - drawn
    """What folding returns stands for itself."""
    once = fold_text(text, lower=lower)
    assert fold_text(once, lower=lower) == once


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_only_white_space_and_case_get_lost(text: str) -> None:
    """Apart from composition, white space and case every symbol stays, in its place."""

    def bare(value: str) -> str:
        lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", value).lower())
        return "".join(symbol for symbol in lowered if symbol not in " \t\r\n")

    assert bare(fold_text(text, lower=True)) == bare(text)


@given(st.lists(st.sampled_from(["X = 1", "  Y", "\tZ  ", "", "`", "```x"]), max_size=6).map("\n".join))
def test_a_fenced_block_stays_as_it_is(code: str) -> None:
    """Nothing inside a fence changes."""
    block = f"````py\n{code}\n````"
    assert fold_text(f"Look  AT\n{block}\nthis  ONE", lower=True) == f"look at\n{block}\nthis one"


def seconds(text: str) -> float:
    """Return the shortest time of three that folding takes of the processor, whatever else runs there."""
    best = float("inf")
    for _ in range(3):
        begin = time.thread_time()
        fold_text(text, lower=True)
        best = min(best, time.thread_time() - begin)
    return best


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param("\u0315\u0300", id="marks"),
        pytest.param("```\n", id="fences"),
        pytest.param("```a`\n", id="no-fences"),
        pytest.param("~~~~\n~~~\n", id="unclosed"),
        pytest.param("`", id="backticks"),
        pytest.param("    x\n", id="indented"),
        pytest.param("\n   ", id="blank-lines"),
        pytest.param("x \t", id="words"),
    ],
)
def test_time_grows_with_length(unit: str) -> None:
    """Sixteen times the text takes far less than 256 times as long."""
    count = 16_000 // len(unit)
    assert seconds(unit * count * 16) < 80 * max(seconds(unit * count), 1e-4)


def test_composing_endless_marks_would_take_the_square() -> None:
    """Control: the library alone slows down on what is left alone here."""
    marks = "\u0315\u0300"
    begin = time.thread_time()
    unicodedata.normalize("NFC", marks * 1_000)
    short = time.thread_time() - begin
    begin = time.thread_time()
    unicodedata.normalize("NFC", marks * 8_000)
    assert time.thread_time() - begin > 16 * short
    assert fold_text("a" + marks * RUN_LIMIT, lower=True) == "a" + marks * RUN_LIMIT
