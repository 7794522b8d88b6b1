"""Which differences in a user's text do not matter: Unicode composition, white space and case, outside of code.

Text in, text out, in linear time. Which texts are folded, and what becomes of them, is decided by `key`.
"""

import re
import unicodedata
from functools import cache

RUN_LIMIT = 64  # marks in a row; more than any script needs, and composing takes the square of their number
GREEK_VARIA = "\u1fef"  # composes to a backtick: folding it could make a fence where none was

_FENCED_OR_INDENTED = re.compile(
    r"""\n(?:
        [ ]{0,3} (?P<fence> (?P<mark>[`~]) (?P=mark){2,}+ ) (?: (?<=`)[^`\n]* | (?<=~)[^\n]* ) (?:
            \n (?: (?! [ ]{0,3}(?P=fence)(?P=mark)*+[ \t\r]*(?:\n|\Z) ) [^\n]*\n )*+ [^\n]*  # to the closing line, or to the end
            | \Z )
        | (?:\t|[ ]{4})[^\n]* (?: \n(?:\t|[ ]{4})[^\n]* )*+
    )""",
    re.VERBOSE,
)
_WHITE_SPACE = re.compile("[ \t\r\n]+")


def fold_text(text: str, *, lower: bool) -> str:
    r"""Return a text in the spelling that stands for all its equals; folding twice changes nothing more.

    Args:
        text: Valid Unicode without surrogates.
        lower: Whether case does not matter either.

    Source:
        Fenced and indented code: CommonMark 0.31, sections 4.4 and 4.5. Composition: Unicode Standard Annex 15.

    Example:
        >>> fold_text("  What is  C++\nand C? ", lower=True)
        'what is c++ and c?'
    """
    if GREEK_VARIA in text or _has_endless_marks(text):
        return text
    wide = "  " in text
    if not _may_hold_code(text, wide=wide):
        return _fold_prose(text, lower=lower, wide=wide)
    pieces, end, text = [], 0, "\n" + text
    for code in _FENCED_OR_INDENTED.finditer(text):
        pieces += [_fold_prose(text[end : code.start()], lower=lower, wide=wide), code.group()[1:]]
        end = code.end()
    pieces.append(_fold_prose(text[end:], lower=lower, wide=wide))
    return "\n".join(piece for piece in pieces if piece)


def _may_hold_code(text: str, *, wide: bool) -> bool:
    """Return whether a text could hold a fence or an indented line; one character is sought first, which is far cheaper."""
    return "\t" in text or (wide and "    " in text) or ("`" in text and "```" in text) or ("~" in text and "~~~" in text)


def _fold_prose(text: str, *, lower: bool, wide: bool) -> str:
    """Fold a text without code; `wide` says whether two spaces may stand side by side in it."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        if lower:
            text = unicodedata.normalize("NFC", text.lower())  # some letters compose only in lower case
    elif lower:
        text = text.lower()
    if not wide and _is_single_spaced(text):
        return text
    if "\v" in text or "\f" in text:  # symbols to us, white space to split()
        return _WHITE_SPACE.sub(" ", text).strip(" ")
    return b" ".join(text.encode().split()).decode()


def _is_single_spaced(text: str) -> bool:
    """Return whether white space stands only between words in a text without double spaces, as in a prompt of one paragraph."""
    return not ("\n" in text or "\t" in text or "\r" in text or text[:1] == " " or text[-1:] == " ")


def _has_endless_marks(text: str) -> bool:
    """Return whether a text holds RUN_LIMIT marks in a row; such a run has one in every sample taken at that distance."""
    if text.isascii():
        return False
    mark, endless = _mark_patterns()
    return mark.search(text[::RUN_LIMIT]) is not None and endless.search(text) is not None


@cache
def _mark_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds one combining mark, and RUN_LIMIT of them in a row."""
    decomposed = ((code, unicodedata.normalize("NFD", chr(code))[0]) for code in range(0x300, 0x20000))
    marks = "".join(chr(code) for code, first in decomposed if unicodedata.combining(first))
    return re.compile(f"[{marks}]"), re.compile(f"[{marks}]{{{RUN_LIMIT}}}")
