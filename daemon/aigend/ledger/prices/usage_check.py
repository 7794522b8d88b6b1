"""Whether the token counts of a provider can be believed, and what is booked where they can't.

A bad count never makes a call free and never books a fantasy: it is replaced by what is known of the call, and flagged.
"""

from dataclasses import replace

from aigend.ledger.prices.estimate import SEARCHES_A_CALL
from aigend.types import TokenUsage

USAGE_MISSING = "usage_missing"
USAGE_NEGATIVE = "usage_negative"  # also counts that are no whole numbers
USAGE_ABSURD = "usage_absurd"
MOST_INPUT = 10_000_000  # tokens; no context is longer
MOST_OUTPUT = 1_000_000  # tokens; no answer is longer
MOST_SEARCHES = 1_000
_ABSURD_FACTOR = 10  # a count beyond this many times its bound is no count
_INPUT_BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
_BUCKETS = (*_INPUT_BUCKETS, "output", "reasoning", "searches")


def checked_usage(
    reported: TokenUsage | None, *, estimated_input: int, max_output: int, output_text_len: int
) -> tuple[TokenUsage, tuple[str, ...]]:
    """Return the usage to book and the flags that say what was wrong with the reported one; any flag makes the cost an estimate.

    Believable usage above what was reserved is booked as it is: an excess is a matter of the budget, not of the count.

    Args:
        reported: As the adapter read it; None where the provider gave none.
        estimated_input: Upper bound of input tokens that was reserved.
        max_output: Output limit that was sent, in tokens.
        output_text_len: UTF-8 bytes of the answer's text.

    Example:
        >>> checked_usage(None, estimated_input=40, max_output=100, output_text_len=12)[1]
        ('usage_missing',)
        >>> checked_usage(TokenUsage(input=9, output=3), estimated_input=40, max_output=100, output_text_len=12)[1]
        ()
    """
    guess = TokenUsage(input=estimated_input, output=min(output_text_len, max_output))
    if reported is None or _says_nothing(reported, output_text_len):
        return guess, (USAGE_MISSING,)
    usage, flags = _without_bad_counts(reported, guess)
    usage, absurd = _without_absurd_counts(usage, estimated_input=estimated_input, max_output=max_output)
    return usage, (*flags, *absurd)


def _says_nothing(usage: TokenUsage, output_text_len: int) -> bool:
    """All zero beside a text: the server fills the fields and counts nothing."""
    return usage == TokenUsage() and output_text_len > 0


def _without_bad_counts(usage: TokenUsage, guess: TokenUsage) -> tuple[TokenUsage, tuple[str, ...]]:
    """Replace counts that are negative or no integers; NaN is among them."""
    bad = [name for name in _BUCKETS if type(count := getattr(usage, name)) is not int or count < 0]
    if not bad:
        return usage, ()
    mended = replace(usage, **dict.fromkeys(bad, 0))
    if any(name in _INPUT_BUCKETS for name in bad):
        mended = replace(mended, input=max(guess.input - mended.total_input + mended.input, mended.input))
    if "output" in bad:
        mended = replace(mended, output=guess.output)
    return mended, (USAGE_NEGATIVE,)


def _without_absurd_counts(usage: TokenUsage, *, estimated_input: int, max_output: int) -> tuple[TokenUsage, tuple[str, ...]]:
    mended = usage
    if usage.total_input > max(MOST_INPUT, estimated_input * _ABSURD_FACTOR):
        mended = replace(mended, input=estimated_input, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    if usage.output > max(MOST_OUTPUT, max_output * _ABSURD_FACTOR):
        mended = replace(mended, output=max_output)
    if usage.searches > MOST_SEARCHES:
        mended = replace(mended, searches=SEARCHES_A_CALL)
    flags = (USAGE_ABSURD,) if mended != usage else ()
    return replace(
        mended, reasoning=min(mended.reasoning, mended.output)
    ), flags  # some count it beside the output; it costs nothing
