"""Failpoints: armed by name, struck once passed, and nothing else."""

import pytest
from aigend.completion.failpoints import NAMES, NO_FAILPOINTS, FailpointRefusedError, Failpoints


@pytest.mark.parametrize("armed", NAMES)
def test_only_the_armed_one_strikes(armed: str):
    """Passing any other place does nothing."""
    struck: list[str] = []
    failpoints = Failpoints(f"{armed}:kill", die=lambda: struck.append(armed))
    for name in NAMES:
        failpoints.passing(name)
    assert struck == [armed]


def test_disarmed_never_strikes():
    """Without an armed one every place can be passed."""
    struck: list[str] = []
    for failpoints in (NO_FAILPOINTS, Failpoints("", die=lambda: struck.append("died"))):
        for name in NAMES:
            failpoints.passing(name)
    assert struck == []


@pytest.mark.parametrize("armed", ["before_lunch:kill", "before_intent", "before_intent:wait", ":kill"])
def test_what_does_not_exist_is_refused(armed: str):
    """The refusal names what was asked for and what there is, and ends a process with 78."""
    with pytest.raises(FailpointRefusedError, match=r"AIGEND_FAILPOINT is .*; allowed: one of before_intent, ") as refused:
        Failpoints(armed)
    assert refused.value.exit_code == 78
