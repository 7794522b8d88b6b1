"""A state machine over a real ledger: random calls, ends, hits, clock jumps, restarts and crashes, compared with a model each step.

Run as `python -m tests.daemon.ledger.ledger_machine --sequences 2000`. A crash is a copy of the files, taken by the writer's own
thread in the middle of a transaction: what is in the copy is what a killed process would have left. The last line of the output
is a JSON object.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import structlog
from aigend.config import LedgerSettings
from aigend.errors import DomainError
from aigend.ledger import journal
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.entries import AlreadyKnown, Reservation, StateConflict
from aigend.ledger.ledger import Ledger
from aigend.ledger.mark import TailState
from aigend.ledger.statistics.hits import HitKey
from aigend.ledger.verify import verify
from aigend.types import CacheOutcome, SavingsCause
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.daemon.ledger.ledger_acts import ENDS, RESERVES, SUBMITS, book, collect, copy_files, end_line, intent_of, submit
from tests.daemon.ledger.ledger_calls import NOW, settlement
from tests.daemon.ledger.ledger_model import OPEN, REPLY_TTL_S, Act, End, Model, Reserve, Submit
from tests.fakes import FakeClock
from tests.ledger_invariants import check_invariants

STEPS = 20
SEEDS = 10**9
KEY = HitKey("me", "", "", "", "", "{}", "", "p", "m", CacheOutcome.HIT, SavingsCause.CACHE)
PARTS = {
    "attempts": "SELECT scope, request_id, attempt_number, state, reserved_nanos, cost_nanos, unknown_low_nanos, unknown_high_nanos"
    " FROM attempt ORDER BY id",
    "operations": "SELECT scope, request_id, attempt_count, attempt_id FROM operation ORDER BY scope, request_id",
    "windows": "SELECT budget, key, period, window, spent_nanos, reserved_nanos FROM budget_window ORDER BY 1, 2, 3, 4",
    "journal": "SELECT count(*), coalesce(min(seq), 1), coalesce(max(seq), 0) FROM journal",
    "lines": "SELECT attempt_id, upload_id IS NOT NULL FROM batch_line ORDER BY attempt_id",
    "hits": "SELECT minute, sum(count), sum(saved_nanos) FROM hit_minute GROUP BY minute ORDER BY minute",
}


class LedgerMachine(RuleBasedStateMachine):
    """One sequence: a ledger, its model, and what was done to both."""

    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._home = Path(tempfile.mkdtemp(prefix="aigen-machine-"))
        self._lives = 0
        self._clock = FakeClock(NOW)
        self._model = Model()
        self._reservations: dict[int, Reservation] = {}
        self._said: set[str] = set()
        self._latest = NOW
        LedgerMachine.counts["sequences"] += 1
        self._open(self._next_home(made=True))

    def _next_home(self, *, made: bool = False) -> Path:
        self._lives += 1
        home = self._home / str(self._lives)
        if made:
            home.mkdir()
        return home

    def _open(self, home: Path) -> None:
        keep = LedgerSettings(reply_ttl_s=REPLY_TTL_S)
        self._ledger = Ledger(path=home / "ledger.db", clock=self._clock, settings=keep, budgets=book())
        self._desk = BatchDesk(self._ledger, clock=self._clock)
        self._report = self._runner.run(self._ledger.open())
        self._opened_us = self._clock.time() * 1e6

    def _reopened(self) -> None:
        """Let the model start anew and compare what the start said."""
        (left, old), report = self._model.reopen(self._clock.time()), self._report
        assert (report.unknown, report.released, report.alarms, report.epoch) == (left, old, (), self._model.epoch)
        assert report.tail in (TailState.OK, TailState.NEW)
        path = self._ledger.path
        assert verify(path) == ()
        assert check_invariants(path, self._model.charged()) == []

    def _apply(self, act: Act) -> str:
        """Let the model do something."""
        outcome = self._model.apply(act, self._clock.time())
        LedgerMachine.counts[outcome] += 1
        return outcome

    async def _do(self, act: Act) -> str:
        """Let the ledger do something, and return how it answered."""
        try:
            if isinstance(act, Submit):
                return await submit(self._desk, act.pick + 1)
            return await (self._reserve(act) if isinstance(act, Reserve) else self._end(act))
        except AlreadyKnown as error:
            return f"known {error.known.state}"
        except StateConflict:
            return "conflict"
        except DomainError as error:
            return str(error.reason)

    async def _reserve(self, call: Reserve) -> str:
        if call.batch:
            self._heard(await collect(self._desk, call))
            return "reserved"
        reservation = await self._ledger.reserve(intent_of(call), allow_repeat=call.allow_repeat)
        self._reservations[reservation.attempt_id] = reservation
        self._heard(reservation.warnings)
        return "sent"

    async def _end(self, end: End) -> str:
        if (call := self._model.attempts[end.pick].call).batch:
            state, warnings = await end_line(self._desk, end.pick + 1, call, end)
            self._heard(warnings)
            return state
        picked = self._picked(end)
        if end.state == "settled":
            settled = await self._ledger.settle(picked, settlement(end.cost, reply=end.reply))
            assert settled.over_reservation == (0 < (picked.intent.upper_bound_nanos or 0) < (end.cost or 0))
            self._heard(settled.warnings)
        elif end.state == "released":
            await self._ledger.release(picked, reason="made up")
        else:
            await self._ledger.mark_unknown(picked, low_nanos=end.low, high_nanos=end.high, reason="made up")
        return end.state

    def _picked(self, end: End) -> Reservation:
        """Return what an attempt was reserved as; one that only a crash has seen is put together again."""
        index, call = end.pick, self._model.attempts[end.pick].call
        made = Reservation(attempt_id=index + 1, entry_id="", operation_id=0, attempt_number=1, intent=intent_of(call))
        return self._reservations.get(index + 1, made)

    def _heard(self, warnings: tuple[str, ...]) -> None:
        """A threshold of a window is told once."""
        for warning in warnings:
            threshold = warning.partition(":")[0]
            assert threshold not in self._said, f"told twice: {threshold}"
            self._said.add(threshold)

    @rule(call=RESERVES)
    def call(self, call: Reserve) -> None:
        """One call is reserved, or refused."""
        self._together([call])

    @rule(call=RESERVES, end=ENDS)
    def whole_call(self, call: Reserve, end: End) -> None:
        """One call is reserved, and the last one that was ends, as most do."""
        self._together([call])
        if self._model.attempts:
            self._together([replace(end, pick=len(self._model.attempts) - 1)])

    @precondition(lambda self: self._model.attempts)
    @rule(end=ENDS | SUBMITS)
    def end(self, end: End | Submit) -> None:
        """One attempt ends, or ended before; a batch line leaves."""
        self._together(self._fixed([end]))

    @precondition(lambda self: self._model.attempts)
    @rule(acts=st.lists(RESERVES | SUBMITS | ENDS, min_size=2, max_size=6))
    def together(self, acts: list[Act]) -> None:
        """Several things happen at once; they are written in the order in which they were asked for."""
        self._together(self._fixed(acts))

    def _fixed(self, acts: list[Act]) -> list[Act]:
        """Let ends speak of attempts that were there before any of these, of those under way where they can."""
        known = range(len(self._model.attempts))
        under_way = [index for index in known if self._model.attempts[index].state in OPEN] or known

        def pick(end: End | Submit) -> int:
            among = under_way if end.of_open else known
            return among[end.pick % len(among)]

        return [act if isinstance(act, Reserve) else replace(act, pick=pick(act)) for act in acts]

    def _together(self, acts: list[Act]) -> None:
        async def all_of_them() -> list[str]:
            return await asyncio.gather(*map(self._do, acts))

        answered = self._runner.run(all_of_them())
        assert answered == [self._apply(act) for act in acts]

    @rule(call=RESERVES)
    def caller_leaves(self, call: Reserve) -> None:
        """A caller is cancelled before its reservation is durable: what was held is given back."""

        async def leave() -> None:
            task = asyncio.create_task(self._do(call))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            for _ in range(2):  # the reservation's group, then that of its release
                await self._ledger._writer.submit(lambda connection: None)
                await asyncio.sleep(0)

        self._runner.run(leave())
        if self._apply(call) == "sent":
            self._apply(End(pick=len(self._model.attempts) - 1, state="released"))

    @precondition(lambda self: self._model.attempts)
    @rule(acts=st.lists(RESERVES | SUBMITS | ENDS, max_size=5), later=st.lists(RESERVES | ENDS, max_size=2))
    def crash(self, acts: list[Act], later: list[Act]) -> None:
        """The process dies while these are written: each of the first is there whole or not at all, in order; the later are not."""
        target, acts = self._next_home(), self._fixed(acts)
        self._runner.run(self._die(acts, self._fixed(later), target))
        self._open(target)
        LedgerMachine.counts["crashes"] += 1
        found = self._rows(f"SELECT count(*) FROM journal WHERE epoch < {self._ledger.epoch}")[0][0]  # noqa: S608 - a number
        for act in acts:
            if self._model.journal < found:
                self._apply(act)
        assert self._model.journal == found
        self._model.pending.clear()
        self._reopened()

    async def _die(self, acts: list[Act], later: list[Act], target: Path) -> None:
        ledger = self._ledger
        before = set(self._reservations), set(self._said)
        under_way = [asyncio.create_task(self._do(act)) for act in acts]
        await asyncio.sleep(0)
        copied = ledger._writer.submit(partial(copy_files, ledger.path.parent, target))
        under_way += [asyncio.create_task(self._do(act)) for act in later]
        await copied
        await asyncio.gather(*under_way)
        await ledger.close()  # of the files that nobody looks at any more
        await asyncio.to_thread(shutil.rmtree, ledger.path.parent)
        self._reservations = {attempt: self._reservations[attempt] for attempt in before[0]}
        self._said = before[1]

    @rule()
    def restart(self) -> None:
        """The ledger is closed and opened; what was sent is unknown then."""
        self._runner.run(self._ledger.close())
        self._model.write_hits()
        self._open(self._ledger.path.parent)
        self._reopened()

    @rule(seconds=st.sampled_from([0.1, 2, 11, 70, 3_700, 90_000]))
    def time_passes(self, seconds: float) -> None:
        """The ledger's own upkeep runs: hits are written, expired replies dropped, the mark brought up to date."""
        self._clock.advance(seconds)
        self._latest = max(self._latest, self._clock.time())

        async def upkeep() -> None:
            await asyncio.sleep(0)
            while not self._clock.sleeper_count:  # noqa: ASYNC110 - the fake clock tells nobody that somebody sleeps
                await asyncio.sleep(0)

        self._runner.run(upkeep())
        self._model.write_hits()

    @rule(days=st.sampled_from([-30, -1, 1, 30]), hours=st.integers(-3, 3))
    def clock_jumps(self, days: int, hours: int) -> None:
        """Somebody sets the wall clock."""
        self._clock.jump(days * 86_400 + hours * 3_600)
        self._latest = max(self._latest, self._clock.time())

    @rule(count=st.integers(1, 3))
    def hits(self, count: int) -> None:
        """Some answers cost nothing."""
        cell = self._ledger.hits.cell(KEY)
        for _ in range(count):
            cell.add(self._clock.time(), 5, 1_000)
        self._model.pending[int(self._clock.time()) // 60] += count

    @rule()
    def flush(self) -> None:
        """Hits are written."""
        self._runner.run(self._ledger.flush())
        self._model.write_hits()

    @invariant()
    def rows_are_the_models(self) -> None:
        """States, sums, the journal and hits are as the model says, and the journal's chain holds."""
        found = self._runner.run(self._ledger.read(_contents, fresh=False))
        assert found == self._expected()
        assert self._ledger.sequence <= self._model.journal + (not self._lives)

    def _expected(self) -> dict[str, object]:
        model = self._model
        self._first_open()
        attempts = [
            (*_names(each.call), each.number, each.state, each.call.bound or 0, each.cost, each.low, each.high)
            for each in model.attempts
        ]
        operations = [(*_names(model.attempts[last].call), model.attempts[last].number, last + 1) for last in model.last.values()]
        return {
            "attempts": attempts,
            "operations": sorted(operations),
            "windows": sorted((*name, *sums) for name, sums in model.windows().items()),
            "lines": model.lines(),
            "journal": [(model.journal, 1, model.journal)],
            "hits": sorted((minute, count, count * 5) for minute, count in model.hits.items()),
            "fault": None,
        }

    def _first_open(self) -> None:
        """The first start is a start too."""
        if not self._model.epoch:
            self._reopened()

    @invariant()
    def memory_is_the_models(self) -> None:
        """Budgets, known ids and replies are answered as the model says."""
        by_name = {(name, key, window): both for (name, key, _, window), both in self._model.windows().items()}
        for state in self._ledger.budget_status(self._clock.time()):
            loaded = state.reset_time is None or state.reset_time * 1e6 > self._opened_us
            said, true = (state.spent_nanos, state.reserved_nanos), by_name.get((state.budget, state.key, state.window), (0, 0))
            assert said == true or (said == (0, 0) and not loaded)
        for key, last in self._model.last.items():
            self._look_up(*key, last)

    def _look_up(self, scope: str, request_id: str, last: int) -> None:
        attempt, name = self._model.attempts[last], f"{scope} {request_id}"
        known = self._ledger.known(scope, name)
        assert known is not None or attempt.state != "sent"
        if known is not None:
            assert (known.state, known.attempt_number, known.entry_id) == (attempt.state, attempt.number, str(last + 1))
        body, expires = self._model.replies.get((scope, request_id), (None, 0.0))
        reply = self._runner.run(self._ledger.reply(scope, name))
        if body is None or expires <= self._clock.time():
            assert reply is None
        elif expires > self._latest:
            assert reply == body
        else:  # a later clock may have dropped it
            assert reply in (None, body)

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        question = partial(_asked, statement=statement)
        return self._runner.run(self._ledger.read(question, fresh=False))

    def teardown(self) -> None:
        """Close, and look at all of it once more."""
        try:
            self._runner.run(self._ledger.close())
            assert verify(self._ledger.path) == ()
        finally:
            self._runner.close()
            shutil.rmtree(self._home)


def _asked(connection: Any, *, statement: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
    return found


def _contents(connection: Any) -> dict[str, object]:
    found: dict[str, object] = {name: connection.execute(question).fetchall() for name, question in PARTS.items()}
    return found | {"fault": journal.first_fault(connection)}


def _names(call: Reserve) -> tuple[str, str]:
    return call.scope, f"{call.scope} {call.request_id}"


def run_sequences(count: int, *, chosen: int = 1, shrink: bool = True) -> Counter[str]:
    """Run that many sequences and return what happened in them, by kind; raise what a bad one found, made small if so wished."""
    LedgerMachine.counts = Counter()
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    rules = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        phases=phases,
        report_multiple_bugs=shrink,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seed(chosen)(LedgerMachine)
    run_state_machine_as_test(LedgerMachine, settings=rules)
    return LedgerMachine.counts


def main(arguments: list[str]) -> int:
    """Return 0 where every sequence agreed with the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=random.randrange(SEEDS))  # noqa: S311 - chooses what, guards nothing
    chosen = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began, breach = time.perf_counter(), ""
    try:
        run_sequences(chosen.sequences, chosen=chosen.seed)
    except Exception as error:  # noqa: BLE001 - whatever was found is said
        breach = f"{type(error).__name__}: {error}"[:2_000]
        sys.stderr.write("\n".join([*getattr(error, "__notes__", []), breach]) + "\n")
    seconds = round(time.perf_counter() - began, 1)
    found = {**LedgerMachine.counts, "seed": chosen.seed, "seconds": seconds, "breach": breach}
    sys.stdout.write(json.dumps(found) + "\n")
    return int(bool(breach))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
