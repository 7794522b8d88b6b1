"""How many retries a provider is sent beside its calls."""

from aigend.config import RetrySettings
from aigend.providers.retry_budget import CALLS_SAVED, RetryBudget
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock

SETTINGS = RetrySettings(budget_ratio=0.2, budget_per_second=10.0)


def taken(budget: RetryBudget, provider: str = "p", settings: RetrySettings = SETTINGS) -> int:
    """Take all retries that are left and return how many that were."""
    count = 0
    while budget.take(provider, settings):
        count += 1
    return count


def test_a_fifth_of_the_calls_and_ten_a_second() -> None:
    """100 calls in no time allow ten retries of the first second and twenty of their own; each further second allows ten."""
    clock = FakeClock()
    budget = RetryBudget(clock=clock)
    for _ in range(100):
        budget.note_call("p", SETTINGS)
    assert taken(budget) == 10 + 20
    clock.advance(0.5)
    assert taken(budget) == 5
    assert budget.refused == {"p": 2}


def test_each_provider_has_its_own() -> None:
    """A provider that fails takes no other provider's retries."""
    budget = RetryBudget(clock=FakeClock())
    assert taken(budget, "p") == 10
    assert taken(budget, "q") == 10


def test_what_is_saved_up_is_bounded() -> None:
    """A quiet day does not pay for a storm: one second's retries and those of 100 calls are all that is kept."""
    clock = FakeClock()
    budget = RetryBudget(clock=clock)
    for _ in range(10_000):
        budget.note_call("p", SETTINGS)
    clock.advance(86_400)
    assert taken(budget) == 10 + CALLS_SAVED * 0.2


def test_none_at_all() -> None:
    """With both settings 0 nothing is tried again."""
    budget = RetryBudget(clock=FakeClock())
    settings = RetrySettings(budget_ratio=0, budget_per_second=0)
    for _ in range(100):
        budget.note_call("p", settings)
    assert taken(budget, settings=settings) == 0


@given(st.lists(st.tuples(st.sampled_from(["call", "retry", "wait"]), st.floats(0, 5)), max_size=200))
def test_retries_never_pass_the_budget(steps: list[tuple[str, float]]) -> None:
    """Whatever the order, retries are at most a second's worth, a fifth of the calls, and ten for each second that passed."""
    clock = FakeClock()
    budget, calls, retries, passed = RetryBudget(clock=clock), 0, 0, 0.0
    for step, seconds in steps:
        if step == "call":
            budget.note_call("p", SETTINGS)
            calls += 1
        elif step == "retry":
            retries += budget.take("p", SETTINGS)
        else:
            clock.advance(seconds)
            passed += seconds
    assert retries <= 10 + 0.2 * calls + 10 * passed + 1e-6
