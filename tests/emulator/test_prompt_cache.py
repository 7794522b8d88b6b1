"""The marked prompt cache: what is written, what is read, and when."""

from aigen_emulator.answers import PrefixMark, Question
from aigen_emulator.clock import MovableClock
from aigen_emulator.prompt_cache import CacheUse, MarkedPromptCache, PromptCache

from tests.fakes import FakeClock

OWNER = "p/claude-sonnet-4-5"


class Bench:
    """A cache on a clock that tests move."""

    def __init__(self, **more) -> None:
        self.clock = FakeClock()
        self.cache = MarkedPromptCache(MovableClock(self.clock.monotonic), **more)

    def look(self, asked: Question, *, owner: str = OWNER) -> CacheUse:
        """Return what a request would use."""
        return self.cache.look(asked, owner=owner)

    def ask(self, asked: Question, *, owner: str = OWNER) -> tuple[int, int, int]:
        """Return what a request reads and writes for 5 minutes and an hour, once its answer has begun."""
        use = self.look(asked, owner=owner)
        self.cache.begin(use)
        return use.read, use.written_5m, use.written_1h


def question(*blocks: str, marks: dict[int, int], model: str = "claude-sonnet-4-5") -> Question:
    """Return a question of blocks; `marks` has lifetimes by block."""
    ends, done = [], -1
    for block in blocks:
        done += len(block) + 1
        ends.append(done)
    placed = tuple(PrefixMark(ends[block], ttl) for block, ttl in sorted(marks.items()))
    return Question(model=model, seed=1, prompt="\n".join(blocks), prefix_marks=placed, block_ends=tuple(ends))


def words(tokens: int, letter: str = "a") -> str:
    """Return a block of so many tokens, its separator included."""
    return letter * (tokens * 4 - 1)


def test_written_then_read() -> None:
    """The first request writes its marked prefix, the second reads it and writes what is new."""
    bench = Bench()
    assert bench.ask(question(words(2_000), "one", marks={0: 300})) == (0, 2_000, 0)
    assert bench.ask(question(words(2_000), "two", marks={0: 300})) == (2_000, 0, 0)


def test_nothing_is_readable_before_the_answer_has_begun() -> None:
    """Of two requests at once both write; who comes after the first answer has begun reads."""
    bench = Bench()
    asked = question(words(2_000), marks={0: 300})
    first, second = bench.look(asked), bench.look(asked)
    assert (first.read, second.read, second.written_5m) == (0, 0, 2_000)
    bench.cache.begin(first)
    assert bench.look(asked).read == 2_000


def test_control_marks_that_are_readable_at_once_would_hide_the_second_write() -> None:
    """Control: with the answer begun at once the second of two concurrent requests would read."""
    bench = Bench()
    asked = question(words(2_000), marks={0: 300})
    bench.cache.begin(bench.look(asked))
    assert bench.look(asked).written_5m == 0


def test_lifetimes_are_refreshed_by_reading() -> None:
    """A prefix lives five minutes or an hour from its last use, as its mark said."""
    for ttl in (300, 3_600):
        bench = Bench()
        asked = question(words(2_000), marks={0: ttl})
        bench.ask(asked)
        for _ in range(3):
            bench.clock.advance(ttl - 1)
            assert bench.ask(asked)[0] == 2_000
        bench.clock.advance(ttl)
        assert bench.ask(asked)[0] == 0


def test_short_prefixes_are_passed_over_in_silence() -> None:
    """A prefix below the model's minimum is neither written nor read."""
    bench = Bench()
    assert bench.ask(question(words(1_023), marks={0: 300})) == (0, 0, 0)
    assert bench.ask(question(words(1_024), marks={0: 300})) == (0, 1_024, 0)
    small = question(words(600), marks={0: 300}, model="claude-opus-5")
    assert bench.ask(small, owner="p/claude-opus-5") == (0, 600, 0)
    large = question(words(4_000), marks={0: 300}, model="claude-haiku-4-5-20251001")
    assert bench.ask(large, owner="p/claude-haiku-4-5-20251001") == (0, 0, 0)


def test_prefixes_are_exact() -> None:
    """A change anywhere before the mark, or another model, makes another prefix."""
    bench = Bench()
    bench.ask(question(words(1_500), words(500), marks={1: 300}))
    assert bench.ask(question("b" + words(1_500)[1:], words(500), marks={1: 300}))[0] == 0
    assert bench.ask(question(words(1_500), words(500), marks={1: 300}), owner="p/other")[0] == 0
    assert bench.ask(question(words(1_500), words(500), marks={1: 300}))[0] == 2_000


def test_only_marked_ends_are_written() -> None:
    """Blocks between marks are no places that can be read from."""
    bench = Bench()
    bench.ask(question(words(1_500), words(500), marks={1: 300}))
    assert bench.ask(question(words(1_500), words(500, "b"), marks={1: 300})) == (0, 2_000, 0)


def test_a_growing_conversation_reads_its_last_turn() -> None:
    """The mark on the newest turn finds the older turn's prefix within the look-back, and writes only what is new."""
    bench = Bench()
    turns = [words(2_000)]
    bench.ask(question(*turns, marks={0: 300}))
    for turn in range(1, 5):
        turns += [words(50, "b"), words(100, "c")]
        assert bench.ask(question(*turns, marks={len(turns) - 1: 300})) == (2_000 + 150 * (turn - 1), 150, 0)


def test_the_look_back_has_an_end() -> None:
    """Twenty places are looked at, the mark's own among them."""
    for between, read in ((19, 2_000), (20, 0)):
        bench = Bench()
        bench.ask(question(words(2_000), marks={0: 300}))
        blocks = [words(2_000), *(words(10, "b") for _ in range(between))]
        assert bench.ask(question(*blocks, marks={between: 300}))[0] == read


def test_lifetimes_are_billed_by_stretch() -> None:
    """What lies before a mark of an hour is written for an hour, the rest for five minutes, and what is known is read."""
    bench = Bench()
    blocks = (words(1_200), words(800), words(100))
    assert bench.ask(question(*blocks, marks={0: 3_600, 2: 300})) == (0, 900, 1_200)
    assert bench.ask(question(*blocks, marks={0: 3_600, 2: 300})) == (2_100, 0, 0)
    bench.clock.advance(301)
    assert bench.ask(question(*blocks, marks={0: 3_600, 2: 300})) == (1_200, 900, 0)


def test_reading_a_longer_prefix_refreshes_the_marks_inside() -> None:
    """A mark that lies inside what was read lives on with it."""
    bench = Bench()
    blocks = (words(1_200), words(800))
    for _ in range(4):
        bench.ask(question(*blocks, marks={0: 300, 1: 300}))
        bench.clock.advance(200)
    assert bench.ask(question(blocks[0], words(10, "x"), marks={0: 300}))[0] == 1_200


def test_the_longest_unused_is_forgotten() -> None:
    """The number of prefixes is bounded."""
    bench = Bench(max_prefixes=2)
    for letter in "abc":
        bench.ask(question(words(2_000, letter), marks={0: 300}))
    assert len(bench.cache) == 2
    assert bench.ask(question(words(2_000, "c"), marks={0: 300}))[0] == 2_000
    assert bench.ask(question(words(2_000, "a"), marks={0: 300}))[0] == 0


def test_what_is_kept_unasked_can_be_read_once_the_answer_has_begun() -> None:
    """Without marks, too, two requests at once read nothing; who comes after the first answer has begun reads."""
    cache = PromptCache(FakeClock().monotonic)
    prompt = "p" * 8_192
    first, second = cache.look(prompt, owner=OWNER), cache.look(prompt, owner=OWNER)
    assert (first.read, second.read) == (0, 0)
    cache.begin(first)
    assert cache.look(prompt, owner=OWNER).read == 2_048


def test_what_is_kept_unasked_ends_five_minutes_after_its_last_use() -> None:
    """A prefix without marks lives on with each request that reads it, and is forgotten otherwise."""
    clock = FakeClock()
    cache = PromptCache(clock.monotonic)
    prompt = "p" * 8_192
    cache.begin(cache.look(prompt, owner=OWNER))
    for _ in range(3):
        clock.advance(299)
        assert cache.look(prompt, owner=OWNER).read == 2_048
    clock.advance(300)
    assert cache.look(prompt, owner=OWNER).read == 0
