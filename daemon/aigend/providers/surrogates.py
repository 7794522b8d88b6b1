"""Characters that arrive in halves: JSON may spell one as a surrogate pair, and a stream may break between the two."""

import re

_HALF = re.compile("[\ud800-\udfff]")
_FIRST_HALVES = ("\ud800", "\udbff")


def mended(text: str) -> str:
    """Return the text with pairs of halves joined; a half that stands alone becomes U+FFFD, for no encoding can hold it.

    Example:
        >>> mended(chr(0xD83D) + chr(0xDE00)) == chr(0x1F600), mended(chr(0xD83D) + "!") == chr(0xFFFD) + "!"
        (True, True)
    """
    if _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class PairJoiner:
    """Passes a text on piece by piece, never with half a character at the end of one."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def take(self, piece: str) -> str:
        """Return what can be shown now: the piece, less a first half at its end, behind what was held back before."""
        if not piece:
            return ""
        piece, self._held = self._held + piece, ""
        if _FIRST_HALVES[0] <= piece[-1] <= _FIRST_HALVES[1]:
            piece, self._held = piece[:-1], piece[-1]
        return mended(piece)

    def rest(self) -> str:
        """Return what stands for a half whose other half never came; empty where there is none."""
        held, self._held = self._held, ""
        return mended(held)
