"""Roll-ups: equal to their rows whatever happens, at every level, and the same answers as the rows give."""

import contextlib
import itertools
import sqlite3
from dataclasses import replace

import pytest
from aigend.ledger import recovery, schema
from aigend.ledger.statistics import histogram, rollups, sums
from aigend.ledger.statistics import store as stats_store
from aigend.ledger.statistics.hits import HitKey
from aigend.ledger.statistics.query import Dimension, UsageFilter, stats_query
from aigend.ledger.statistics.ranges import Stretch, stretches
from aigend.ledger.statistics.stats import compute
from aigend.ledger.verify import verify
from aigend.types import CacheOutcome
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.ledger.ledger_calls import NOW, intent, opened, settlement
from tests.daemon.ledger.ledger_rows import add_attempt, add_hits, empty_ledger
from tests.daemon.ledger.test_stats import NOON, attempts, groupings, hits, zones

DAY = 86_400


def _fill(ledger, paid, free):
    for row in paid:
        fields = dict(row)
        amount = fields.pop("amount")
        column = {"settled": "cost_nanos", "unknown": "unknown_high_nanos"}.get(fields["state"])
        add_attempt(ledger, **fields, **({column: amount} if column else {}))
    for row in free:
        add_hits(ledger, **row)


def _sums(ledger, level):
    """All sums of a level, added up."""
    return sums.values(sums.unpacked(ledger.execute(f"SELECT sums_total(sums) FROM {level.table}").fetchone()[0]))  # noqa: S608


def _by_rows(ledger, query, monkeypatch):
    """The same question, answered out of rows alone."""
    with monkeypatch.context() as patched:
        end = round((query.end or NOON + DAY) * 1e6)
        start = round((query.start or 0) * 1e6)
        patched.setattr(stats_store, "stretches", lambda *_, **__: [Stretch(None, start, end)])
        return compute(ledger, query)


@settings(max_examples=60, deadline=None)
@given(
    calls=st.tuples(st.lists(attempts, max_size=12), st.lists(attempts, max_size=4), st.lists(hits, max_size=6)),
    dimensions=groupings,
    zone=zones,
    fold=st.integers(-1, 400 * DAY),
    span=st.tuples(st.integers(0, 400 * DAY), st.integers(1, 400 * DAY)) | st.none(),
)
def test_roll_ups_answer_as_the_rows_do(calls, dimensions, zone, fold, span):
    """Whatever is folded and comes late, any question gets the answer of the rows, and no level differs from the one below."""
    paid, late, free = calls
    ledger = empty_ledger()
    _fill(ledger, paid, free)
    if fold >= 0:
        rollups.rebuild(ledger, now=NOON - fold)
    _fill(ledger, late, free)
    assert rollups.differences(ledger) == []
    start, end = (None, None) if span is None else (NOON - span[0], NOON - span[0] + span[1])
    fields = {"start": start, "end": end, "time_zone": zone, "label_key": "team" if Dimension.LABEL in dimensions else ""}
    query = stats_query(scope="me", now=NOON + DAY, group_by=dimensions, **fields)
    with pytest.MonkeyPatch.context() as patch:
        assert compute(ledger, query) == _by_rows(ledger, query, patch)


def test_folding_one_quarter_after_the_other_is_rebuilding():
    """Quarters folded as they pass make the same hours and days as all at once, and none is folded twice or too early."""
    ledger = empty_ledger()
    rollups.rebuild(ledger, now=NOON - 10 * DAY)
    for step in range(40):
        add_attempt(ledger, at=NOON - step * 7_000, cost_nanos=step, total_us=step * 1_000, model=f"m{step % 3}")
    folded = 0
    while due := rollups.next_fold(ledger, now=NOON):
        rollups.fold(ledger, due[0])
        rollups.fold(ledger, due[0])
        folded += 1
    assert folded == 39
    assert rollups.folded_until(ledger) * 900 + rollups.FOLD_AFTER_S < NOON
    assert rollups.differences(ledger) == []
    assert _sums(ledger, rollups.KEY_WEEK)["cost_nanos"] == sum(range(1, 40))


def test_what_changes_in_a_folded_quarter_changes_every_level():
    """A late settlement is taken from and added to the quarter, the hours and the days alike."""
    ledger = empty_ledger()
    attempt_id = add_attempt(ledger, at=NOON - DAY, state="unknown", unknown_high_nanos=900)
    rollups.rebuild(ledger, now=NOON)
    rollups.take(ledger, attempt_id)
    ledger.execute("UPDATE attempt SET state = 'settled', unknown_high_nanos = NULL, cost_nanos = 70, total_us = 5")
    rollups.add(ledger, attempt_id)
    assert rollups.differences(ledger) == []
    for level in (rollups.ACCOUNT_QUARTER, *rollups.FOLDED):
        found = {name: value for name, value in _sums(ledger, level).items() if value}
        assert found == {"calls": 1, "cost_nanos": 70, "latency_us": 5}


def test_control_a_change_that_is_not_counted_is_found():
    """Without taking and adding, every level is named as different from its rows."""
    ledger = empty_ledger()
    add_attempt(ledger, at=NOON - DAY, cost_nanos=5)
    rollups.rebuild(ledger, now=NOON)
    ledger.execute("UPDATE attempt SET cost_nanos = 6")
    assert [text.split()[0] for text in rollups.differences(ledger)] == ["rollup_quarter"]
    ledger.execute("UPDATE rollup_quarter SET sums = ?", (sums.packed(sums.of({"calls": 1, "cost_nanos": 6})),))
    assert {text.split()[0] for text in rollups.differences(ledger)} == {level.table for level in rollups.FOLDED}


@pytest.mark.parametrize("hits_too", [True, False])
def test_quarters_since_the_seal_are_summed_up_again(hits_too):
    """A roll-up that differs from rows that changed since the seal is corrected at every level, and said."""
    ledger = empty_ledger()
    attempt_id = add_attempt(ledger, at=NOON - DAY, cost_nanos=5)
    if hits_too:
        add_hits(ledger, at=NOON - DAY, latencies=[1, 2], saved=4)
    ledger.execute("INSERT INTO journal VALUES (1, 1, ?, 'settled', 0, 5, '{}', 0, x'')", (attempt_id,))
    rollups.rebuild(ledger, now=NOON)
    assert rollups.correct(ledger, sealed_seq=0) == ([], [])
    ledger.execute("UPDATE rollup_quarter SET sums = x'07'")
    assert len(rollups.correct(ledger, sealed_seq=0).said) == 1
    assert rollups.differences(ledger) == []


def test_quarters_that_are_too_large_are_left_for_later():
    """Of quarters that changed, the youngest are compared up to so many attempts, and the others are named."""
    ledger = empty_ledger()
    ids = [add_attempt(ledger, at=NOON - day * DAY, cost_nanos=5) for day in (3, 2, 1)]
    rows = [(seq, attempt_id) for seq, attempt_id in enumerate(ids, start=1)]
    ledger.executemany("INSERT INTO journal VALUES (?, 1, ?, 'settled', 0, 5, '{}', 0, x'')", rows)
    quarters = [int(NOON - day * DAY) // 900 for day in (3, 2, 1)]
    assert rollups.correct(ledger, sealed_seq=0, most_rows=2) == ([], quarters[:1])
    assert not rollups.differs(ledger, quarters[0])
    ledger.execute("UPDATE rollup_quarter SET sums = x'07'")
    assert rollups.differs(ledger, quarters[0])
    assert [rollups.sum_up_anew(ledger, quarter) for quarter in quarters]
    assert rollups.differences(ledger) == []


@pytest.mark.parametrize("spoilt", [True, False])
async def test_large_quarters_are_compared_while_the_ledger_serves(tmp_path, monkeypatch, spoilt):
    """What a start left for later is compared after it; rows win, and an operator is told where they differed."""
    async with opened(tmp_path) as ledger:
        await ledger.settle(await ledger.reserve(intent("r1")), settlement(600))
    path = next(tmp_path.rglob("ledger.db"))
    with contextlib.closing(schema.open_writer(path)) as connection:
        connection.execute("UPDATE meta SET value = 0 WHERE name = 'sealed_seq'")
        if spoilt:
            connection.execute("UPDATE rollup_quarter SET sums = x'07'")
    monkeypatch.setattr(recovery, "COMPARED_ROWS", 0)
    said = []
    async with opened(tmp_path, on_fault=said.append) as ledger:
        while spoilt and not said:
            await ledger.read(rollups.folded_until)  # behind the comparison, in the reader's thread
        await ledger.read(rollups.folded_until)
        assert await ledger.read(rollups.differences) == []
    assert [text.split(";")[0].endswith("differed from its rows") for text in said] == [True] * spoilt
    assert verify(path) == ()


def test_roll_ups_of_the_version_before_are_packed(tmp_path):
    """Rows that held each sum in a column are packed as they are, at every level."""
    path = tmp_path / "ledger.db"
    before = schema.MIGRATIONS.index(schema.PACKED_ROLLUPS)
    columns = ", ".join(sums.MEASURES)
    values = [-7 if name == "saved_prompt_cache_nanos" else index for index, name in enumerate(sums.MEASURES)]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        schema.register(old)
        for version in range(before):
            old.executescript(f"{schema.MIGRATIONS[version]}; PRAGMA user_version={version + 1};")
        for level in (rollups.ACCOUNT_QUARTER, *rollups.FOLDED):
            if level is not rollups.KEY_MONTH:
                names, marks = f"slot, {level.owner}, {columns}, histogram", f"8, 1, {'?, ' * len(values)} x'0301'"
                old.execute(f"INSERT INTO {level.table} ({names}) VALUES ({marks})", values)  # noqa: S608
    with contextlib.closing(schema.open_writer(path)) as connection:
        for level in (rollups.ACCOUNT_QUARTER, *rollups.FOLDED):
            assert _sums(connection, level) == dict(zip(sums.MEASURES, values, strict=True))
            slot = 2 if level is rollups.KEY_MONTH else 8
            assert connection.execute(f"SELECT slot, histogram FROM {level.table}").fetchall() == [(slot, b"\x03\x01")]  # noqa: S608


def test_a_ledger_of_an_older_version_gets_its_roll_ups(tmp_path):
    """Rows written before there were roll-ups are summed up when the ledger is opened, and it verifies."""
    path = tmp_path / "ledger.db"
    _older_ledger(path)
    with contextlib.closing(schema.open_writer(path)) as connection:
        report = recovery.recover(connection, path, mark=None, created=False, now_us=int(NOON * 1e6))
        totals = compute(connection, stats_query(scope="me", now=NOON)).totals
    assert (totals.call_count, totals.hit_count, totals.cost_nanos, report.released) == (3, 2, 5, 0)
    assert [text for text in verify(path) if text.startswith("rollup")] == []


def _older_ledger(path):
    newest = schema.MIGRATIONS
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode=WAL")
        for version in range(newest.index(schema.ROLLUPS)):
            old.executescript(f"{newest[version]}; PRAGMA user_version={version + 1};")
        old.execute(
            "INSERT INTO attempt (id, operation_id, scope, request_id, attempt_number, epoch, state, create_us, update_us, service,"
            " session, phase, task, labels, agent, provider, model, requested_model, outcome, reserved_nanos, cost_nanos)"
            " VALUES (1, 1, 'me', 'r', 1, 1, 'settled', ?, 0, '', 's', '', '', '{}', '', 'p', 'm', 'm', 'miss', 9, 5)",
            (int((NOON - DAY) * 1e6),),
        )
        old.execute("INSERT INTO operation VALUES (1, 'me', 'r', x'00', 1, 1, 0)")
        old.execute("INSERT INTO hit_key VALUES (1, 'me', '', 's', '', '', '{}', '', 'p', 'm', 'hit', 'cache')")
        old.execute("INSERT INTO hit_minute VALUES (?, 1, 2, 8, 0, 30, '{\"5\":2}')", (int(NOON - DAY) // 60,))


async def _calls_of_every_end(ledger):
    """Settled, released, unknown and gone on, unknown and settled later, and a hit."""
    settled, gone, open_end = [await ledger.reserve(intent(name, session=name)) for name in ("r1", "r2", "r3")]
    await ledger.settle(settled, settlement(600))
    await ledger.release(gone, reason="refused")
    await ledger.mark_unknown(open_end, reason="timeout")
    again = await ledger.reserve(intent("r3", session="r3"), allow_repeat=True)
    await ledger.settle(again, settlement(70))
    await ledger.mark_unknown(await ledger.reserve(intent("r4")), reason="reset")
    key = HitKey("me", "", "s", "", "", "{}", "", "p", "m", CacheOutcome.HIT, "cache")
    ledger.hits.cell(key).add(NOW, 5, 20)
    await ledger.flush()


async def test_every_change_of_a_call_is_in_the_roll_ups(tmp_path):
    """However calls end, and when they are tried again, the roll-ups equal the rows, and so do the answers."""
    async with opened(tmp_path) as ledger:
        await _calls_of_every_end(ledger)
        assert await ledger.read(rollups.differences) == []
        totals = (await ledger.read(lambda connection: compute(connection, stats_query(scope="me", now=NOW)))).totals
    assert (totals.miss_count, totals.hit_count, totals.unknown_count, totals.released_count) == (2, 1, 2, 1)
    assert (totals.call_count, totals.cost_nanos, totals.unknown_nanos) == (4, 670, 2_000)
    assert verify(next(tmp_path.rglob("ledger.db"))) == ()


async def test_control_a_settlement_that_is_not_rolled_up_is_found(tmp_path, monkeypatch):
    """Without the count in the transaction of the settlement, verification names the roll-up."""
    monkeypatch.setattr(rollups, "add", lambda *_: None)
    async with opened(tmp_path) as ledger:
        await ledger.settle(await ledger.reserve(intent("r1")), settlement(600))
    monkeypatch.undo()
    path = next(tmp_path.rglob("ledger.db"))
    assert any("rollup_quarter" in text for text in verify(path))
    with contextlib.closing(schema.open_writer(path)) as connection:
        assert len(rollups.correct(connection, sealed_seq=0).said) == 1
    assert verify(path) == ()


@pytest.mark.parametrize("needs_accounts", [True, False])
@given(start=st.integers(0, 10**7), length=st.integers(1, 10**7), folded=st.integers(-1, 12_000))
@settings(max_examples=60, deadline=None)
def test_a_range_is_covered_without_gap_or_overlap(needs_accounts, start, length, folded):
    """The stretches of a range, laid end to end, are the range."""
    query = replace(
        stats_query(scope="me", now=NOON, usage_filter=UsageFilter(session="s" if needs_accounts else "")),
        start=float(start),
        end=float(start + length),
    )
    ends = []
    for stretch in stretches(query, folded_until=folded):
        unit = 1 if stretch.level is None else stretch.level.quarters * rollups.QUARTER_US
        ends.append((stretch.start * unit, stretch.end * unit))
    ends.sort()
    assert ends[0][0] == start * 10**6
    assert ends[-1][1] == (start + length) * 10**6
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ends))


@given(st.dictionaries(st.integers(0, 143), st.integers(1, 10**9)), st.dictionaries(st.integers(0, 143), st.integers(1, 10**9)))
def test_histograms_add_up_and_are_taken_apart(one, other):
    """What is stored is read back; the sum less one part is the other part."""
    stored = histogram.packed(histogram.of(one))
    assert histogram.counts(histogram.unpacked(stored)) == one
    total = histogram.unpacked(stored) + histogram.of(other)
    assert histogram.packed(total - histogram.of(other)) == stored
