"""The client's presets fit the daemon's catalog."""

import aigen
import pytest
from aigen.presets import MODELS
from aigend.config import Settings
from aigend.routing.catalog import build_catalog, bundled_models
from aigend.routing.router import Router
from aigend.types import CompletionRequest, Message, Part, ReasoningEffort, Role, Text

PROVIDERS = ("openai", "anthropic", "google", "perplexity")
NAMED = [(tier, provider, model) for tier, by_provider in MODELS.items() for provider, model in by_provider.items()]


@pytest.mark.parametrize(("tier", "provider", "model"), NAMED)
def test_each_named_model_has_its_tier_and_provider(tier: str, provider: str, model: str) -> None:
    """What stands for a tier at a provider is a bundled model of that provider and tier, found by its short name."""
    found = build_catalog(Settings(), configured=PROVIDERS).find(model)
    assert (found.provider, found.tier) == (provider, tier)
    assert found in build_catalog(Settings(), configured=PROVIDERS).list()
    assert sum(known.id == model for known in bundled_models().models) == 1


@pytest.mark.parametrize("preset", aigen.PRESETS.values(), ids=aigen.PRESETS)
def test_each_preset_is_a_request_that_its_models_can_serve(preset: aigen.Preset) -> None:
    """No model of a preset lacks what it asks for, and its limits are within theirs."""
    options = dict(preset.options)
    effort = options.pop("reasoning_effort", None)
    request = CompletionRequest(
        messages=(Message(Role.USER, (Part(Text("a question")),)),),
        system=(Part(Text(preset.system)),),
        model=preset.models[0],
        fallback_models=preset.models[1:],
        reasoning_effort=ReasoningEffort(effort) if effort else None,
        **options,
    )
    routes = Router(build_catalog(Settings(), configured=PROVIDERS)).allowed(request)
    assert [route.route.model for route in routes] == list(preset.models)
    assert [route.route.provider for route in routes] == list(preset.providers)
