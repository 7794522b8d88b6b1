"""What a replay reckons, by hand where it is small, and what adaptive marking is held to on traces of differing habits."""

import json
from functools import partial
from pathlib import Path

import pytest
from aigend.scheduling.prompt_cache import chances, track_record
from aigend.scheduling.prompt_cache.track_record import Record

from benchmarks import savings
from benchmarks.savings import LAST_LINE, RULES, Replay, bills, main, reckon
from benchmarks.synthetic_traces import PASTING, TRACES, betrayal, busy_chat, slow_chat
from benchmarks.trace_provider import TraceProvider
from benchmarks.traces import BLOCK_TOKENS, TraceError, TraceRequest, block_texts, in_turn, read_trace

pytestmark = pytest.mark.timeout(120)  # replays are some seconds of arithmetic each, more on a busy machine

MODEL = "claude-opus-4-5"
TRACE = Path(__file__).parents[2].parent / "shared" / "data" / "trace_mooncake_synthetic.jsonl"
INPUT, READ, WRITE, WRITE_HOUR, OUTPUT = 5_000, 500, 6_250, 10_000, 25_000  # nano-dollars a token
MINIMUM = 4_096
DOCUMENT = tuple(range(10))  # blocks
TOKENS = 10 * BLOCK_TOKENS


def asked(at: float, *ids: int, tokens: int | None = None, output: int = 7) -> TraceRequest:
    """Return a request of whole blocks."""
    return TraceRequest(at, tokens or BLOCK_TOKENS * len(ids), output, ids)


def test_a_small_trace_is_billed_as_by_hand() -> None:
    """Marked for five minutes, the second of three is read and the third comes too late."""
    trace = [asked(0, *DOCUMENT), asked(300, *DOCUMENT), asked(601, *DOCUMENT)]
    replay = Replay(trace, MODEL)
    found = bills(replay)
    assert found["nothing"] == 3 * (TOKENS * INPUT + 7 * OUTPUT)
    assert found["exact"] == found["nothing"] // 3
    assert found["always_5m"] == TOKENS * (2 * WRITE + READ) + 3 * 7 * OUTPUT
    assert found["always_1h"] == TOKENS * (WRITE_HOUR + 2 * READ) + 3 * 7 * OUTPUT
    assert found["second_sight_5m"] == TOKENS * (INPUT + 2 * WRITE) + 3 * 7 * OUTPUT
    assert found["oracle_5m"] == TOKENS * (WRITE + READ + INPUT) + 3 * 7 * OUTPUT
    assert found["oracle_1h"] == found["always_1h"]
    assert set(LAST_LINE) <= set(found)


def test_half_deferred_is_every_second_request_at_the_batch_price() -> None:
    """Requests two, four and so on cost half where nothing is cached."""
    trace = [asked(at, *range(20 * at, 20 * at + 10)) for at in range(4)]
    found = bills(Replay(trace, MODEL))
    assert found["adaptive_exact_half_deferred"] * 4 == found["nothing"] * 3


def test_what_is_kept_is_read_by_a_later_moment_and_from_the_minimum_on() -> None:
    """Requests of one moment do not read from each other, a beginning that is too short is neither written nor read."""
    provider = TraceProvider(minimum=MINIMUM)
    assert provider.call(asked(1, *range(7)), {7: 300}).cache_write_5m == 0
    for _ in range(2):
        assert provider.call(asked(1, *DOCUMENT), {10: 300}).cache_write_5m == TOKENS
    assert provider.call(asked(2, *DOCUMENT), {10: 300}).cache_read == TOKENS
    shares_little = provider.call(asked(2, *range(7), 50, 51), {9: 300})
    assert (shares_little.cache_read, shares_little.cache_write_5m) == (0, 9 * BLOCK_TOKENS)
    longer = provider.call(asked(3, *DOCUMENT, 20, 21, 22), {11: 3_600, 12: 300})
    assert (longer.cache_read, longer.cache_write_1h, longer.cache_write_5m, longer.input) == (TOKENS, 512, 512, 512)


def marked(replay: Replay, ttl_s: int) -> int:
    """Return the bill where all of every request is marked."""
    provider = TraceProvider(minimum=MINIMUM)
    return sum(replay.cost(provider.call(line, {len(line.hash_ids): ttl_s})) for line in replay.trace)


HELD = {name: TRACES[name] for name in TRACES if not name.startswith("busy")} | {
    "busy_chat": partial(busy_chat, most=3_000),
    "busy_chat_pasting": partial(busy_chat, 14, habit=PASTING, most=3_000),
}
WHOLE = ("hourly", "busy_chat", "busy_chat_pasting")  # the others are held to it from their first requests on


@pytest.mark.parametrize("name", sorted(HELD))
def test_adaptive_keeps_its_promises(name: str) -> None:
    """It is not dearer than not marking, and within 1.5 points of the best rule there is."""
    replay = Replay(HELD[name]()[: None if name in WHOLE else 1_500], MODEL)
    nothing = replay.plain(exact=False).nanos
    found = {
        "always_5m": marked(replay, 300),
        "always_1h": marked(replay, 3_600),
        "second_sight_5m": replay.decided(*RULES["second_sight_5m"]).nanos,
        "adaptive": replay.decided(*RULES["adaptive"]).nanos,
    }
    points = {rule: 100 * (1 - nanos / nothing) for rule, nanos in found.items()}
    assert points["adaptive"] >= -0.1
    assert points["adaptive"] >= max(points.values()) - 1.5


def test_always_marks_all() -> None:
    """The rule that the promises are held against is the daemon's own."""
    replay = Replay(TRACES["bursts"]()[:300], MODEL)
    assert replay.decided(*RULES["always_5m"]).nanos == marked(replay, 300)


def lost(trace: list[TraceRequest]) -> float:
    """Return how many points adaptive marking loses."""
    replay = Replay(trace, MODEL)
    return 100 * (replay.decided("adaptive", 300).nanos / replay.plain(exact=False).nanos - 1)


def test_betrayed_it_loses_little() -> None:
    """Where requests come again for just so long that one may rely on it, and then never, less than half a point is lost."""
    assert lost(betrayal()) < 0.5


def test_without_its_alarm_it_loses_more_where_it_is_betrayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that are only worn down believe in what has ended."""
    monkeypatch.setattr(chances, "ALARM", float("inf"))
    assert lost(betrayal()) > 0.5


def test_without_a_bound_it_loses_more_where_it_is_betrayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen as lost after five minutes only has to be bounded before."""
    monkeypatch.setattr(track_record, "STAKE", float("inf"))
    assert lost(betrayal()) > 0.5


@pytest.mark.parametrize("seed", [21, 23])
def test_where_marking_gains_nothing_it_loses_nothing(seed: int) -> None:
    """In a slow chat, where marks are worth their premium or not by a hair, hardly anything is lost."""
    assert lost(slow_chat(seed)) < 0.15


def test_without_doubt_it_takes_luck_for_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same chat what a few large requests came to would be relied on."""
    monkeypatch.setattr(track_record, "BEYOND_DOUBT", 0.0)
    assert lost(slow_chat(21)) > 0.15


def test_without_its_record_adaptive_falls_into_traps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps it from losing is that it stops where marking does not pay: without that it loses."""
    monkeypatch.setattr(Record, "judge", lambda record, _: (setattr(record, "open", True), setattr(record, "proven", True)))
    replay = Replay(TRACES["traps"]()[:1_500], MODEL)
    assert replay.decided("adaptive", 300).nanos > replay.plain(exact=False).nanos * 1.005


@pytest.mark.skipif(not TRACE.exists(), reason="../shared/data is not there")
def test_adaptive_reaches_most_of_the_oracle() -> None:
    """On the public trace it saves at least 85 % of what one would who knows the future."""
    replay = Replay(read_trace(TRACE), MODEL)
    nothing, adaptive, oracle = replay.plain(exact=False), replay.decided("adaptive", 300), replay.oracle(300)
    assert nothing.nanos - adaptive.nanos >= 0.85 * (nothing.nanos - oracle.nanos)


def test_what_is_kept_can_be_read_at_the_moment_it_is_written_again() -> None:
    """A request that shares too little to read writes a shared block anew: others of that moment still read their own."""
    provider = TraceProvider(minimum=MINIMUM)
    provider.call(asked(1, *DOCUMENT), {10: 300})
    assert provider.call(asked(4, 0, *range(50, 60)), {11: 3_600}).cache_read == 0
    assert provider.call(asked(4, *DOCUMENT), {10: 300}).cache_read == TOKENS


def test_last_line_is_what_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is a JSON object with exactly these keys."""
    path = tmp_path / "trace.jsonl"
    lines = [{"timestamp": 1_000 * at, "input_length": 600, "output_length": 2, "hash_ids": [1, 2]} for at in range(2)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    assert main([str(path), "--model", MODEL]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found) == ["trace", "model", "requests", "bill_usd"]
    assert (found["trace"], found["model"], found["requests"]) == (str(path), MODEL, 2)
    assert list(found["bill_usd"]) == list(LAST_LINE)
    assert found["bill_usd"]["nothing"] == 2 * (600 * INPUT + 2 * OUTPUT) / 1e9
    assert found["bill_usd"]["exact"] == found["bill_usd"]["nothing"] / 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no request"),
        ("{", "line 1"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1}', "hash_ids"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1, 2]}', "allowed"),
        (
            '{"timestamp": 9, "input_length": 5, "output_length": 1, "hash_ids": [1]}\n'
            '{"timestamp": 8, "input_length": 5, "output_length": 1, "hash_ids": [1]}',
            "line 2: timestamp",
        ),
    ],
)
def test_a_trace_that_is_not_understood_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """The text names file, line and what is allowed."""
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match=told):
        read_trace(path)


def test_processes_side_by_side_reckon_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long trace is shared out by ways; the bills are those of one process."""
    path = tmp_path / "trace.jsonl"
    lines = (
        {"timestamp": 1_000 * n, "input_length": TOKENS, "output_length": 9, "hash_ids": [*DOCUMENT[:9], 100 + n]} for n in range(5)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    replay = Replay(read_trace(path), MODEL)
    monkeypatch.setattr(savings, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert bills(replay, reckon(replay, path, MODEL)) == bills(replay)


@pytest.mark.parametrize(("name", "model"), [("missing.jsonl", MODEL), ("trace.jsonl", "no-such-model")])
def test_what_can_not_be_replayed_ends_with_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, model: str
) -> None:
    """A missing file and an unknown model are told, without a traceback."""
    (tmp_path / "trace.jsonl").write_text('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}')
    assert main([str(tmp_path / name), "--model", model]) == 2
    assert capsys.readouterr().err.startswith("benchmarks.savings: ")


def test_block_texts_count_as_the_trace_says() -> None:
    """Each block is 512 tokens of four bytes, the last one what is left; equal numbers give equal texts."""
    texts = block_texts(asked(0, 3, 4, 5, tokens=1_030))
    assert [len(text) for text in texts] == [2_048, 2_048, 24]
    assert len(set(texts)) == 3
    assert texts[0] == block_texts(asked(9, 3))[0]


def test_equal_requests_are_paid_for_once_with_the_exact_cache() -> None:
    """Equal are those with equal blocks and an equal length."""
    trace = [asked(0, 1), asked(1, 1), asked(2, 1, tokens=9), asked(3, 2)]
    assert [paid for _, paid in in_turn(trace, exact=True)] == [True, False, True, True]
    assert all(paid for _, paid in in_turn(trace, exact=False))
    assert savings.half(trace) == [False, True, False, True]
