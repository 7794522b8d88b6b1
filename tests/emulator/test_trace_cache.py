"""The prompt cache by the rules of traces: by the block, by the moment, and the texts alone."""

from aigen_emulator.answers import PrefixMark, Question
from aigen_emulator.trace_cache import TraceCache, block_tokens

BLOCK = 2_048  # bytes, 512 tokens
MODEL = "claude-sonnet-4-5"  # whose shortest prefix is of 1,024 tokens


class Time:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def question(blocks: str, mark: int, ttl_s: int = 300) -> Question:
    """Return a request of one block a letter that is marked after so many."""
    texts = [letter * BLOCK for letter in blocks]
    ends = tuple(number * (BLOCK + 1) + BLOCK for number in range(len(texts)))
    marks = (PrefixMark(ends[mark - 1], ttl_s),) if mark else ()
    return Question(model=MODEL, seed=1, prompt="\n".join(texts), block_ends=ends, prefix_marks=marks)


def test_tokens_are_those_of_the_texts() -> None:
    """What stands between two blocks is not counted."""
    assert block_tokens(question("abc", 0)) == [512, 1_024, 1_536]


def test_what_was_kept_is_read_up_to_any_block_at_a_later_moment() -> None:
    """A request that goes another way reads what it shares, but not at the moment of the writing."""
    clock = Time()
    cache = TraceCache(clock)
    for _ in range(2):
        use = cache.look(question("abcd", 4), owner="o")
        assert (use.read, use.written_5m) == (0, 2_048)
    clock.now = 300.0
    use = cache.look(question("abcx", 4, 3_600), owner="o")
    assert (use.read, use.written_5m, use.written_1h) == (1_536, 0, 512)
    assert cache.look(question("abcd", 4), owner="other").read == 0
    clock.now = 601.0
    assert cache.look(question("abcd", 4), owner="o").read == 0
    cache.begin(use)
    assert len(cache) >= 5


def test_too_short_and_unmarked_prefixes_are_passed_over() -> None:
    """Below the minimum nothing is written or read, without a mark neither."""
    clock = Time()
    cache = TraceCache(clock, max_prefixes=3)
    assert cache.look(question("a", 1), owner="o").written_5m == 0
    assert cache.look(question("abcd", 0), owner="o").written_5m == 0
    assert cache.look(question("abc", 3), owner="o").written_5m == 1_536
    clock.now = 1.0
    assert cache.look(question("axy", 3), owner="o").read == 0
    assert len(cache) == 3


def test_what_is_kept_can_be_read_at_the_moment_it_is_written_again() -> None:
    """A request that shares too little to read writes a shared block anew: others of that moment still read their own."""
    clock = Time()
    cache = TraceCache(clock)
    cache.look(question("abcd", 4), owner="o")
    clock.now = 3.0
    assert cache.look(question("axyz", 4, 3_600), owner="o").read == 0
    assert cache.look(question("abcd", 4), owner="o").read == 2_048
