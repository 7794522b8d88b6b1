"""What services may ask for."""

from pathlib import Path

import pytest
from aigend.config import Settings, SettingsError, load_settings
from aigend.errors import DomainError, Reason
from aigend.routing import policy as policies
from aigend.routing.catalog import Catalog, Model, build_catalog
from aigend.routing.policy import ServicePolicy, build_policies, check_downgrades, find_policy
from aigend.types import Capability, ModelTier, Normalization, Strategy

EXAMPLES = Path(__file__).parents[3] / "examples"


def _catalog(settings: Settings, configured=("openai",)) -> Catalog:
    return build_catalog(settings, configured=configured)


def _policy(configured=("openai",), **own) -> tuple[ServicePolicy, Catalog]:
    settings = Settings(services={"s": own})
    catalog = _catalog(settings, configured)
    return build_policies(settings, catalog)["s"], catalog


def _refusal(policy: ServicePolicy, model: Model) -> DomainError:
    with pytest.raises(DomainError) as refused:
        policy.check(model, "model")
    return refused.value


def test_a_refused_model_names_the_allowed_ones() -> None:
    """MODEL_NOT_ALLOWED says which model and which service, and which models of configured providers are allowed, also as facts."""
    policy, catalog = _policy(allowed_tiers=["mini"])
    error = _refusal(policy, catalog.find("o1-preview"))
    assert error.reason is Reason.MODEL_NOT_ALLOWED
    assert error.text.startswith("model openai/o1-preview is not allowed for service s; allowed: openai/gpt-3.5-turbo, ")
    assert "openai/gpt-4o-mini" in error.metadata["allowed"]
    assert "anthropic" not in error.metadata["allowed"]
    assert {**error.metadata, "allowed": ""} == {"field": "model", "model": "openai/o1-preview", "service": "s", "allowed": ""}


def test_allowed_ones_are_named_where_no_provider_is_configured() -> None:
    """Without a configured provider all allowed models are named, so that the error is never empty."""
    policy, catalog = _policy(configured=(), allowed_models=["gpt-4o"])
    assert _refusal(policy, catalog.find("gpt-4o-mini")).metadata["allowed"] == "openai/gpt-4o"


def test_tiers_and_models_are_allowed_beside_each_other() -> None:
    """What is in an allowed tier or is named is allowed, whatever name it was given by; the rest is not."""
    policy, catalog = _policy(allowed_tiers=["mini"], allowed_models=["gpt-4o-2024-08-06", "claude", "openai/of-our-own"])
    allowed = ("gpt-4o-mini", "gpt-4o", "claude-sonnet-5-5", "openai/of-our-own")
    assert all(policy.allows(catalog.find(name)) for name in allowed)
    assert not any(policy.allows(catalog.find(name)) for name in ("gpt-4-turbo", "openai/another"))
    assert {model.full_name for model in policy.models} >= {"openai/gpt-4o", "anthropic/claude-sonnet-5-5", "openai/of-our-own"}
    assert "anthropic/claude-sonnet-5-5" not in {model.full_name for model in policy.available}
    assert list(policy.models) == sorted(policy.models, key=catalog.position)


def test_required_capabilities_restrict_by_themselves() -> None:
    """A model that is known to lack one is not allowed; one of which nothing is told is."""
    policy, catalog = _policy(required_capabilities=["vision", "json_schema"])
    assert policy.restricted
    assert policy.allows(catalog.find("gpt-4o"))
    assert policy.allows(catalog.find("openai/unlisted"))
    assert not policy.allows(catalog.find("gpt-4-turbo"))


def test_a_policy_without_rules_allows_everything() -> None:
    """Defaults alone restrict nothing."""
    policy, catalog = _policy(strategy="performance", ttl_s=60, normalization="exact", default_model="gpt-4o")
    assert not policy.restricted
    assert policy.allows(catalog.find("openai/unlisted"))
    assert (policy.strategy, policy.ttl_s, policy.normalization) == (Strategy.PERFORMANCE, 60.0, Normalization.EXACT)
    assert policy.default is catalog.find("gpt-4o")


def test_the_services_of_the_example() -> None:
    """The policies in examples/services.yaml load and say what they seem to say."""
    settings = load_settings(EXAMPLES / "services.yaml", {"HOME": "/x"}).settings
    catalog = _catalog(settings)
    built = build_policies(settings, catalog)
    assert list(built) == ["StrategyBuilder", "NarrativeReport", "ChatOpsAdvanced"]
    assert (built["StrategyBuilder"].tiers, built["StrategyBuilder"].strategy) == (
        (ModelTier.MINI, ModelTier.STANDARD),
        Strategy.COST_OPTIMIZED,
    )
    assert built["NarrativeReport"].default is catalog.find("gpt-4o")
    assert built["ChatOpsAdvanced"].required == (Capability.FUNCTION_CALLING,)
    assert [model.id for model in built["ChatOpsAdvanced"].models] == ["gpt-4-turbo", "gpt-4o", "gpt-4o-mini"]
    assert [built[name].ttl_s for name in built] == [604_800, 86_400, 600]


@pytest.mark.parametrize(
    ("own", "key", "says"),
    [
        ({"allowed_models": ["gpt4o"]}, "services.s.allowed_models", "did you mean gpt-4o"),
        ({"allowed_models": ["openai/a b"]}, "services.s.allowed_models", "without spaces"),
        ({"default_model": "nothing/x"}, "services.s.default_model", "not in the catalog"),
        ({"allowed_tiers": ["mini"], "default_model": "gpt-4o"}, "services.s.default_model", "openai/gpt-4o-mini"),
        ({"required_capabilities": ["search"], "default_model": "gpt-4o"}, "services.s.default_model", "perplexity/sonar"),
        ({"allowed_models": ["gpt-4o"], "required_capabilities": ["search"]}, "services.s.allowed_models", "SEARCH"),
        ({"allowed_tiers": ["premium"], "required_capabilities": ["search"]}, "services.s", "some known model meets"),
    ],
)
def test_policies_that_cannot_be_are_refused_at_load(own: dict, key: str, says: str) -> None:
    """The error names the key, its value and what is allowed."""
    with pytest.raises(SettingsError) as refused:
        _policy(**own)
    assert refused.value.key == key
    assert says in str(refused.value)


def test_all_services_are_checked_at_once() -> None:
    """Two bad services are two problems of one error."""
    settings = Settings(services={"a": {"default_model": "x"}, "b": {"default_model": "y"}, "c": {}})
    with pytest.raises(SettingsError) as refused:
        build_policies(settings, _catalog(settings))
    assert [problem.key for problem in refused.value.problems] == ["services.a.default_model", "services.b.default_model"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gpt4o", "budgets.1.downgrade_to 'gpt4o' is not in the catalog (did you mean gpt-4o"),
        ("claude-sonnet-4-5", "budgets.1.downgrade_to is 'claude-sonnet-4-5'; allowed: openai/"),
        ("openai/a b", "without spaces"),
    ],
)
def test_a_downgrade_that_cannot_be_is_refused_at_load(model: str, says: str) -> None:
    """A budget whose cheaper model is not known, or not configured, is named by its place, with what is allowed."""
    common = {"period": "daily", "limit_usd": "1", "action": "downgrade"}
    budgets = [{"name": "fine", "downgrade_to": "gpt-4o-mini", **common}, {"name": "b", "downgrade_to": model, **common}]
    settings = Settings(budgets=budgets)
    with pytest.raises(SettingsError) as caught:
        check_downgrades(settings, build_catalog(settings, configured=["openai"]))
    assert [problem.key for problem in caught.value.problems] == ["budgets.1.downgrade_to"]
    assert says in str(caught.value)
    fine = Settings(budgets=budgets[:1])
    check_downgrades(fine, build_catalog(fine, configured=["openai"]))


def test_an_unknown_service_has_no_policy() -> None:
    """Asking for it is NOT_FOUND, with the nearest one and those that there are."""
    policy, _ = _policy()
    assert find_policy({"Strategy": policy}, "Strategy") is policy
    with pytest.raises(DomainError) as refused:
        find_policy({"Strategy": policy}, "Strateg")
    assert refused.value.reason is Reason.NOT_FOUND
    assert "did you mean Strategy" in refused.value.text
    with pytest.raises(DomainError, match="settings: none"):
        find_policy({}, "x")


def test_an_error_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many allowed models the first are named and the rest counted."""
    monkeypatch.setattr(policies, "_MOST_NAMED", 2)
    policy, catalog = _policy(allowed_tiers=["mini"])
    named = _refusal(policy, catalog.find("gpt-4o")).metadata["allowed"]
    assert named.startswith("openai/gpt-3.5-turbo, openai/gpt-4.1-mini and ")
    assert named.endswith(f" {len(policy.available) - 2} more")
