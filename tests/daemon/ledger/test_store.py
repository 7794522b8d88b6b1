"""The guard of every state change, and the states as a machine."""

import sqlite3

import pytest
from aigend.errors import DomainError
from aigend.ledger import journal, replies, schema, store
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries import OPEN_STATES, TRANSITIONS, AlreadyKnown, AttemptState, StateConflict
from aigend.ledger.store import Moment
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tests.daemon.ledger.ledger_calls import budget, intent, settlement

MOMENT = Moment(epoch=1, now_us=1_767_225_600_000_000)
KEEP = replies.Keep(ttl_us=1_000_000, max_bytes=1_000)
LIMIT = 6_000


def memory() -> sqlite3.Connection:
    """Return an empty ledger in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection)
    return connection


@pytest.fixture
def connection():
    """Return an empty ledger in memory."""
    made = memory()
    yield made
    made.close()


def reserve(connection, request_id="r1", *, allow_repeat=False, bound=1_000):
    """Reserve under a budget of LIMIT."""
    call = intent(request_id, bound=bound)
    claims = BudgetBook([budget(limit_nanos=LIMIT)]).matching(call)
    return store.reserve(connection, call, claims=claims, allow_repeat=allow_repeat, moment=MOMENT)


def end(connection, attempt_id, state, *, nanos=400, source=AttemptState.SENT):
    """Bring an attempt to a state."""
    if state is AttemptState.SETTLED:
        none = store.NO_BUDGETS
        return store.settle(connection, attempt_id, settlement(nanos), budgets=none, keep=KEEP, moment=MOMENT, source=source)
    if state is AttemptState.RELEASED:
        return store.release(connection, attempt_id, reason="x", moment=MOMENT, source=source)
    return store.mark_unknown(connection, attempt_id, low_nanos=0, high_nanos=nanos, reason="x", moment=MOMENT, source=source)


def counters(connection):
    """Return spent and reserved."""
    return connection.execute("SELECT spent_nanos, reserved_nanos FROM budget_window").fetchone()


ENDS = (AttemptState.SETTLED, AttemptState.RELEASED, AttemptState.UNKNOWN)


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_an_attempt_ends_once(connection, first, second):
    """Whatever ends an attempt first, nothing ends it again, and nothing is counted again."""
    attempt_id = reserve(connection).attempt_id
    end(connection, attempt_id, first)
    before = counters(connection)
    with pytest.raises(StateConflict):
        end(connection, attempt_id, second)
    assert counters(connection) == before


@pytest.mark.parametrize(("last", "spent"), [(AttemptState.SETTLED, 300), (AttemptState.RELEASED, 0)])
def test_unknown_may_be_cleared_up_later(connection, last, spent):
    """What was booked as unknown is replaced, not added to, once somebody knows."""
    attempt_id = reserve(connection).attempt_id
    end(connection, attempt_id, AttemptState.UNKNOWN, nanos=900)
    assert counters(connection) == (900, 0)
    end(connection, attempt_id, last, nanos=300, source=AttemptState.UNKNOWN)
    assert counters(connection) == (spent, 0)
    assert connection.execute("SELECT unknown_high_nanos FROM attempt").fetchone() == (None,)


@pytest.mark.parametrize("source", [AttemptState.SETTLED, AttemptState.RELEASED])
@pytest.mark.parametrize("target", ENDS)
def test_nothing_leaves_settled_or_released(connection, source, target):
    """A final state is final, also for who names it as the state to leave."""
    attempt_id = reserve(connection).attempt_id
    end(connection, attempt_id, source)
    with pytest.raises(StateConflict):
        end(connection, attempt_id, target, source=source)


def test_attempt_that_does_not_exist_is_a_conflict(connection):
    """There is nothing to end."""
    with pytest.raises(StateConflict):
        end(connection, 42, AttemptState.SETTLED)


def test_control_without_guard_counts_twice(connection, monkeypatch):
    """The guard in the UPDATE is the whole protection: without it, a second settling is booked again."""
    monkeypatch.setattr(store, "_GUARD", " WHERE id = ? AND ? != ''")
    attempt_id = reserve(connection).attempt_id
    end(connection, attempt_id, AttemptState.SETTLED)
    end(connection, attempt_id, AttemptState.SETTLED)
    assert counters(connection) == (800, 0)


def test_states_and_transitions_name_each_other():
    """Every state has its way on; the open ones are those that hold cost."""
    assert set(TRANSITIONS) == set(AttemptState)
    assert {state for state in AttemptState if state.open} == OPEN_STATES


class Machine(RuleBasedStateMachine):
    """Calls in any order, against a model that is a dictionary."""

    attempts = Bundle("attempts")

    def __init__(self):
        super().__init__()
        self.connection = memory()
        self.model = {}
        self.last = {}

    @rule(target=attempts, request_id=st.sampled_from("abcd"), bound=st.sampled_from([None, 0, 700, 2_500]), repeat=st.booleans())
    def reserve(self, request_id, bound, repeat):
        """An id passes where its last attempt was released, or is unknown and may be repeated; money where it fits."""
        state = self.model[self.last[request_id]][0] if request_id in self.last else AttemptState.RELEASED
        free = state is AttemptState.RELEASED or (state is AttemptState.UNKNOWN and repeat)
        fits = sum(booked for _, _, booked in self.model.values()) + (bound or 0) <= LIMIT
        self.connection.execute("SAVEPOINT operation")
        try:
            change = reserve(self.connection, request_id, allow_repeat=repeat, bound=bound)
        except (AlreadyKnown, DomainError) as error:
            self.connection.execute("ROLLBACK TO operation")
            self.connection.execute("RELEASE operation")
            expected = not free if isinstance(error, AlreadyKnown) else free and not fits
            assert expected
            return multiple()
        self.connection.execute("RELEASE operation")
        assert free
        assert fits
        self.model[change.attempt_id] = (AttemptState.SENT, bound or 0, bound or 0)
        self.last[request_id] = change.attempt_id
        return change.attempt_id

    @rule(attempt=attempts, state=st.sampled_from(ENDS), nanos=st.integers(0, 3_000))
    def end(self, attempt, state, nanos):
        """An attempt ends from SENT and from nowhere else."""
        before, held, _ = self.model[attempt]
        try:
            end(self.connection, attempt, state, nanos=nanos)
        except StateConflict:
            assert before is not AttemptState.SENT
            return
        assert before is AttemptState.SENT
        self.model[attempt] = (state, held, 0 if state is AttemptState.RELEASED else nanos)

    @rule(attempt=consumes(attempts), state=st.sampled_from([AttemptState.SETTLED, AttemptState.RELEASED]))
    def clear_up(self, attempt, state):
        """Only what is unknown can be cleared up."""
        before, held, _ = self.model[attempt]
        try:
            end(self.connection, attempt, state, nanos=10, source=AttemptState.UNKNOWN)
        except StateConflict:
            assert before is not AttemptState.UNKNOWN
            return
        assert before is AttemptState.UNKNOWN
        self.model[attempt] = (state, held, 10 if state is AttemptState.SETTLED else 0)

    @invariant()
    def counters_equal_rows(self):
        """Spent is what was settled and may have been charged; reserved is what is under way."""
        spent = sum(booked for state, _, booked in self.model.values() if state is not AttemptState.SENT)
        reserved = sum(held for state, held, _ in self.model.values() if state is AttemptState.SENT)
        assert (counters(self.connection) or (0, 0)) == (spent, reserved)

    @invariant()
    def journal_holds(self):
        """The chain has no fault."""
        assert journal.first_fault(self.connection) is None

    def teardown(self):
        """Close the database."""
        self.connection.close()


Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestMachine = Machine.TestCase
