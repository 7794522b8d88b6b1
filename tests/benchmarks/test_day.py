"""The day whose bill is compared: what was written down stays, and its figures are the differences of two bills."""

import hashlib
import itertools
import json

from aigend.types import TokenUsage

from benchmarks.day import CAUSES, Charge, compared, waves
from benchmarks.day_plan import FIRST_TOKEN_S, Moment, day, totals

FIXED = "ca7447c86c80bc63decba56727964ee065b7f172297d6517c76130098ad83556"  # of the whole day


def digest_of(moments: list[Moment]) -> str:
    """Return the digest of all requests and their times."""
    return hashlib.sha256(repr(moments).encode()).hexdigest()


def test_day_is_the_one_that_was_written_down() -> None:
    """The day is the same in every run, and the one that was fixed before anything was tuned on it."""
    assert digest_of(day()) == digest_of(day()) == FIXED


def test_control_another_day_would_be_noticed() -> None:
    """Control: a day with one call more at its end has another digest."""
    moments = day()
    assert digest_of([*moments, moments[-1]]) != FIXED


def test_day_has_what_was_asked_for() -> None:
    """500 service calls, 20 runs of five phases with two revised each, and a tenth of exact repeats."""
    moments = day()
    counts = totals(moments)
    assert counts == {"pipeline": 251, "services": 500, "repeats": 75, "total": 751}
    runs = {moment.asked.turns[0].stable[0] for moment in moments if moment.asked.service == "business-plan"}
    assert len(runs) == 20
    for run in runs:
        asked = {moment.asked for moment in moments if moment.asked.turns[0].stable[:1] == (run,)}
        first = [one for one in asked if "corrected" not in one.turns[0].changing]
        again = {one.phase for one in asked if "corrected" in one.turns[0].changing}
        assert ({one.phase for one in first}, len(first), len(again)) == (set("12345"), 8, 2)


def test_prompts_grow_over_the_phases() -> None:
    """Each phase of a run sends more than the one before, and begins with what that one began with."""
    steps = [moment.asked for moment in day() if moment.asked.agent == "claude"]
    by_run = {step.turns[0].stable[0]: {} for step in steps}
    for step in steps:
        by_run[step.turns[0].stable[0]][step.phase] = step.turns[0].stable
    for phases in by_run.values():
        ordered = [phases[phase] for phase in sorted(phases)]
        assert all(later[: len(earlier)] == earlier and len(later) > len(earlier) for earlier, later in itertools.pairwise(ordered))


def test_waves_hold_what_begins_before_a_first_token() -> None:
    """Calls are sent together while the first of them has no token yet; each is sent once, in order."""
    moments = day()
    sent = [*waves(moments)]
    assert [moment for wave in sent for moment in wave] == moments
    assert all(wave[-1].at_s - wave[0].at_s < FIRST_TOKEN_S for wave in sent)
    assert any(len(wave) > 1 for wave in sent)


def test_causes_add_up_to_the_difference() -> None:
    """Every nano-dollar between the bills has one cause, also where a write was never read."""
    plain = [Charge(1_000, TokenUsage()) for _ in range(4)]
    billed = [
        Charge(0, TokenUsage(), "response_cache"),
        Charge(0, TokenUsage(), "single_flight"),
        Charge(1_250, TokenUsage()),
        Charge(100, TokenUsage()),
    ]
    line = json.loads(json.dumps(compared(day(), plain, billed)))
    assert set(line) == {"bill_usd", "saved_percent", "by_cause_usd", "calls"}
    assert line["bill_usd"] == {"without": 4e-6, "with": 1.35e-6}
    assert line["saved_percent"] == 66.25
    assert tuple(line["by_cause_usd"]) == CAUSES
    assert [round(usd * 1e9) for usd in line["by_cause_usd"].values()] == [1_000, 1_000, 650, 0]
