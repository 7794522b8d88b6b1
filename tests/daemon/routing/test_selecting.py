"""What budgets' selectors mean, and which names they may hold."""

import pytest
from aigend.config import Settings, SettingsError
from aigend.routing.catalog import build_catalog
from aigend.routing.selecting import Selectors, check_selectors

SETTINGS = Settings(
    agents={"helper": "mine/own-model"},
    providers={"mine": {"base_url": "https://models.example"}},
    models=[{"id": "mine-1", "provider": "mine", "aliases": ["nick"]}],
)


@pytest.fixture
def selectors() -> Selectors:
    """Return what reads selectors where one provider has settings and one can be asked."""
    return Selectors(build_catalog(SETTINGS, configured=("openai",)), providers=("openai", *SETTINGS.providers))


@pytest.mark.parametrize(
    ("selector", "means"),
    [
        ({}, {}),
        ({"model": "gpt-4o"}, {"model": "gpt-4o"}),
        ({"model": "gpt-4o-2024-08-06"}, {"model": "gpt-4o"}),
        ({"model": "nick", "service": "flow"}, {"model": "mine-1", "service": "flow"}),
        ({"model": "openai/gpt-4o"}, {"provider": "openai", "model": "gpt-4o"}),
        ({"model": "openai/gpt-4o", "provider": "openai"}, {"provider": "openai", "model": "gpt-4o"}),
        ({"model": "anthropic/claude-sonnet-4-5"}, {"provider": "anthropic", "model": "claude-sonnet-4-5"}),
        ({"model": "mine/tuned:v1/x"}, {"provider": "mine", "model": "tuned:v1/x"}),
        ({"provider": "mine", "model": "gpt-4o"}, {"provider": "mine", "model": "gpt-4o"}),
        ({"agent": "helper"}, {"agent": "helper"}),
        ({"agent": ""}, {"agent": ""}),
        ({"provider": "anthropic"}, {"provider": "anthropic"}),
    ],
)
def test_known_names_mean_what_is_booked(selectors, selector, means):
    """Names are read as in requests, also of providers that can't be asked now; there is nothing to complain of."""
    assert selectors.meaning(selector) == means
    assert list(selectors.faults(selector)) == []


@pytest.mark.parametrize(
    ("selector", "key", "allowed"),
    [
        ({"provider": "opnai"}, "provider", "(did you mean openai"),
        ({"provider": ""}, "provider", "anthropic"),
        ({"agent": "claud"}, "agent", "(did you mean claude"),
        ({"model": "gpt4o"}, "model", "(did you mean gpt-4o"),
        ({"model": ""}, "model", "as provider/model"),
        ({"model": "nobody/x"}, "model", "as provider/model"),
        ({"model": "openai/"}, "model", "as provider/model"),
        ({"model": "openai/gpt-4o", "provider": "mine"}, "model", "a model of provider mine"),
    ],
)
def test_names_that_no_call_can_carry_are_told_with_what_is_allowed(selectors, selector, key, allowed):
    """Such a selector would never match: key and value are named; what is in force already stays as it is, and is doubted."""
    (fault,) = selectors.faults(selector)
    assert (fault.key, fault.value) == (key, selector[key])
    assert allowed in fault.allowed
    assert selectors.meaning(selector) == selector
    (doubt,) = selectors.doubts("team", selector)
    assert doubt.startswith(f"budget team holds for nothing: {key} is {selector[key]!r} in its selector; allowed: ")


def test_budgets_of_the_settings_are_refused_by_their_place(selectors):
    """All of them at once, each by its key."""
    common = {"period": "daily", "limit_usd": "1"}
    chosen = [{"model": "openai/gpt-4o"}, {"model": "gpt4o", "agent": "claud"}, {"provider": "opnai"}]
    budgets = [{"name": f"b{index}", "selector": selector, **common} for index, selector in enumerate(chosen)]
    with pytest.raises(SettingsError) as caught:
        check_selectors(Settings(budgets=budgets), selectors)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["budgets.1.selector.agent", "budgets.1.selector.model", "budgets.2.selector.provider"]
    assert "budgets.1.selector.model is 'gpt4o'; allowed: a model of the catalog" in str(caught.value)
    check_selectors(Settings(budgets=budgets[:1]), selectors)
