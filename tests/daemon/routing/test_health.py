"""Which key is asked: circuits open, are probed once, and close; several keys share the load."""

from collections import Counter

import pytest
from aigend.config import BreakerSettings
from aigend.errors import Reason
from aigend.routing.health import CircuitReport, CircuitState, Health, KeyId, Outcome, Ticket

from tests.fakes import FakeClock

SETTINGS = BreakerSettings(
    consecutive_failures=3, failure_ratio=0.5, min_calls=10, window_s=60.0, cool_down_s=15.0, max_cool_down_s=50.0
)
KEY = KeyId("p", 1)
THREE = tuple(KeyId("p", number) for number in (1, 2, 3))


class Ward:
    """A health with its clock and what it told."""

    def __init__(self, *, enabled: bool = True, **changes) -> None:
        self.clock = FakeClock()
        self.told: list[CircuitReport] = []
        settings = SETTINGS.model_copy(update=changes)
        self.health = Health(clock=self.clock, settings=settings, enabled=enabled, on_change=self.told.append)

    def call(self, outcome: Outcome, *keys: KeyId) -> bool:
        """Make one call that ends so, and return whether it was let through."""
        ticket = self.health.pick(keys or (KEY,))
        if ticket is None:
            return False
        with ticket:
            ticket.ended(outcome)
        return True

    def fail(self, times: int = 3) -> None:
        """Let calls fail one after another."""
        for _ in range(times):
            assert self.call(Outcome.FAILED)

    def pick(self) -> Ticket | None:
        """Ask for the only key."""
        return self.health.pick((KEY,))

    @property
    def states(self) -> list[str]:
        """The changes that were told."""
        return [report.state for report in self.told]


def test_failures_in_a_row_open_the_circuit() -> None:
    """Below the number calls go through, an answer between begins the count anew, at the number none goes through."""
    ward = Ward()
    ward.fail(2)
    assert ward.call(Outcome.ANSWERED)
    ward.fail(3)
    assert ward.pick() is None
    assert ward.states == ["open"]
    assert (ward.told[0].failures, ward.told[0].retry_s, ward.told[0].refused) == (3, 15.0, False)


def test_switched_off_every_call_goes_through() -> None:
    """Control: without the breaker a key that fails is asked for ever."""
    ward = Ward(enabled=False)
    ward.fail(50)
    assert (ward.states, list(ward.health.passed_by)) == ([], [])


def test_a_share_of_failures_opens_the_circuit() -> None:
    """One failure in two calls is too many once there are enough calls to judge by."""
    ward = Ward(consecutive_failures=100)
    for _ in range(4):
        assert ward.call(Outcome.ANSWERED)
        assert ward.call(Outcome.FAILED)
    assert ward.call(Outcome.ANSWERED)
    assert ward.states == []
    assert ward.call(Outcome.FAILED)
    assert ward.states == ["open"]


def test_old_calls_do_not_count_for_the_share() -> None:
    """What lies before the window is forgotten."""
    ward = Ward(consecutive_failures=100)
    for _ in range(9):
        assert ward.call(Outcome.FAILED)
    ward.clock.advance(60)
    assert ward.call(Outcome.FAILED)
    assert ward.states == []


def test_one_call_probes_after_the_cool_down() -> None:
    """While the probe is under way nobody else is let through; its answer lets everybody through."""
    ward = Ward()
    ward.fail()
    ward.clock.advance(14.9)
    assert ward.pick() is None
    ward.clock.advance(0.1)
    probe = ward.pick()
    assert probe is not None
    assert [ward.pick() for _ in range(5)] == [None] * 5
    probe.ended(Outcome.ANSWERED)
    assert ward.call(Outcome.FAILED)
    assert ward.call(Outcome.ANSWERED)
    assert ward.states == ["open", "half_open", "closed"]


def test_a_failed_probe_waits_longer_up_to_a_bound() -> None:
    """Each failed probe doubles the cool-down, never above the longest; an answer begins anew."""
    ward = Ward()
    ward.fail()
    waits = []
    for _ in range(4):
        waits.append(ward.told[-1].retry_s)
        ward.clock.advance(waits[-1])
        ward.fail(1)
    assert waits == [15.0, 30.0, 50.0, 50.0]
    ward.clock.advance(50)
    assert ward.call(Outcome.ANSWERED)
    ward.fail()
    assert ward.told[-1].retry_s == 15.0


def test_a_probe_that_was_not_made_is_left_to_the_next_call() -> None:
    """A probe whose budget was refused, or whose caller left, says nothing and blocks nobody."""
    ward = Ward()
    ward.fail()
    ward.clock.advance(15)
    with ward.pick() as probe:
        assert probe.key == KEY
    assert ward.states == ["open", "half_open", "open"]
    assert ward.call(Outcome.ANSWERED)
    assert ward.states[-1] == "closed"


@pytest.mark.parametrize("outcome", Outcome)
def test_calls_from_before_the_opening_change_nothing(outcome: Outcome) -> None:
    """What began earlier and ends while the circuit is open neither closes it nor makes it wait longer."""
    ward = Ward()
    late = ward.pick()
    ward.fail()
    late.ended(outcome)
    assert ward.pick() is None
    ward.clock.advance(15)
    assert ward.pick() is not None


def test_an_outcome_is_told_once() -> None:
    """The end of the block after an outcome was told adds nothing."""
    ward = Ward()
    with ward.pick() as ticket:
        ticket.ended(Outcome.FAILED)
        ticket.ended(Outcome.FAILED)
    assert next(ward.health.reports()).failures == 1


def test_a_key_that_is_not_taken_is_out_at_once() -> None:
    """One refusal is enough, and callers are told that waiting does not cure it."""
    ward = Ward()
    assert ward.call(Outcome.REFUSED)
    assert ward.pick() is None
    assert ward.told[0].refused
    error = ward.health.pass_by((KEY,))
    assert (error.reason, error.retry_after_s) == (Reason.PROVIDER_REFUSED, None)
    assert "its key" in error.text
    assert "any of its 3 keys" in _refused_all(Ward()).text


def _refused_all(ward: Ward):
    for key in THREE:
        ward.call(Outcome.REFUSED, key)
    return ward.health.pass_by(THREE)


def test_a_route_that_is_passed_by_says_when_to_come_again() -> None:
    """The error names the provider and has the time until the next probe; who waits for a probe is told a moment."""
    ward = Ward()
    ward.fail()
    ward.clock.advance(5)
    error = ward.health.pass_by((KEY,))
    assert (error.reason, error.retry_after_s, error.metadata) == (
        Reason.PROVIDER_UNAVAILABLE,
        10.0,
        {"provider": "p", "circuit": "open"},
    )
    ward.clock.advance(10)
    ward.pick()
    assert ward.health.pass_by((KEY,)).retry_after_s == 1.0
    assert ward.health.passed_by == {"p": 2}


def test_keys_share_the_load() -> None:
    """Calls go to the keys in turn."""
    ward = Ward()
    assert Counter(ward.health.pick(THREE).key.number for _ in range(30)) == {1: 10, 2: 10, 3: 10}


def test_a_broken_key_leaves_the_others_alone() -> None:
    """One key's circuit opens; its calls go to the others, and after the cool-down one of them probes it."""
    ward = Ward()
    ward.fail()
    assert Counter(ward.health.pick(THREE).key.number for _ in range(30)).keys() == {2, 3}
    ward.clock.advance(15)
    assert Counter(ward.health.pick(THREE).key.number for _ in range(10))[1] == 1


def test_a_key_that_was_asked_too_often_rests_while_others_can() -> None:
    """Resting is a wish: where no other key is left it is asked all the same."""
    ward = Ward()
    ward.health.rest(KEY, 30)
    assert KEY not in {ward.health.pick(THREE).key for _ in range(9)}
    assert ward.health.pick(THREE, but=THREE[1:]).key == KEY
    ward.clock.advance(30)
    assert KEY in {ward.health.pick(THREE).key for _ in range(3)}


def test_a_call_gets_no_key_that_it_can_not_use() -> None:
    """Keys that this call was refused are left out, whatever their health."""
    ward = Ward()
    assert ward.health.pick(THREE, but=THREE[:2]).key == THREE[2]
    assert ward.health.pick(THREE, but=THREE) is None
    assert ward.health.usable(THREE, but=THREE[:2])
    assert not ward.health.usable(THREE, but=THREE)


def test_other_settings_and_other_keys() -> None:
    """Settings change without forgetting, a changed provider begins anew, and switching off forgets all."""
    ward = Ward()
    ward.fail()
    late = ward.health.pick((KeyId("q", 1),))
    ward.health.use(SETTINGS.model_copy(update={"consecutive_failures": 1}), enabled=True)
    assert ward.pick() is None
    ward.health.forget("p")
    assert ward.call(Outcome.FAILED)
    assert ward.pick() is None
    ward.health.use(SETTINGS, enabled=False)
    late.ended(Outcome.FAILED)
    assert [report.state for report in ward.health.reports()] == []
    assert ward.pick() is not None


def test_reports_name_provider_and_position() -> None:
    """Every key that was asked is reported, in order, never by what it holds."""
    ward = Ward()
    for key in (THREE[2], KeyId("a", 1), KEY):
        ward.call(Outcome.ANSWERED, key)
    reports = list(ward.health.reports())
    assert [(report.key.provider, report.key.number) for report in reports] == [("a", 1), ("p", 1), ("p", 3)]
    assert {(report.state, report.failures, report.retry_s) for report in reports} == {(CircuitState.CLOSED, 0, 0.0)}
