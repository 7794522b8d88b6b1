"""Which model a name means."""

from dataclasses import replace

import pytest
from aigend.completion.prompt_cache import plans
from aigend.config import ModelSettings, ProviderSettings, SettingsError, SettingsSections
from aigend.errors import DomainError, Reason
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.routing.catalog import MARKING_ADAPTERS, BundledModels, Model, build_catalog, bundled_models
from aigend.types import Capability, ModelTier

ALL_PROVIDERS = ("openai", "anthropic", "google", "perplexity")


def _catalog(configured=("openai",), bundled=None, **settings):
    return build_catalog(SettingsSections(**settings), configured=configured, bundled=bundled)


def _refusal(call, *arguments):
    with pytest.raises(DomainError) as caught:
        call(*arguments)
    return caught.value


def test_only_openai_configured_is_enough_for_gpt_4o_mini():
    """With an OpenAI key and no settings, the bare name works, and so do its full name, its alias and no name at all."""
    catalog = _catalog()
    wanted = catalog.resolve("gpt-4o-mini", "")
    assert (wanted.provider, wanted.id, wanted.max_output_tokens) == ("openai", "gpt-4o-mini", 16_384)
    assert catalog.resolve("openai/gpt-4o-mini", "") is wanted
    assert catalog.resolve("gpt-4o-mini-2024-07-18", "") is wanted
    assert catalog.resolve("", "") is wanted
    assert catalog.available(wanted)


@pytest.mark.parametrize(
    ("agent", "provider"), [("claude", "anthropic"), ("chatgpt", "openai"), ("gemini", "google"), ("perplexity", "perplexity")]
)
def test_four_agents_have_models(agent, provider):
    """Each of the four agents stands for a listed model of its provider, which names the agent."""
    catalog = _catalog(ALL_PROVIDERS)
    model = catalog.resolve("", agent)
    assert model.provider == provider
    assert agent in model.agents
    assert catalog.agents[agent] == model
    assert catalog.find(agent) == model


def test_settings_decide_what_an_agent_stands_for():
    """An agent of the settings replaces the bundled one, may be new, and may stand for a model that nobody lists."""
    catalog = _catalog(("openai", "house"), agents={"claude": "house/big", "critic": "openai/gpt-4o"})
    assert catalog.resolve("", "claude").full_name == "house/big"
    assert catalog.resolve("", "critic").agents == ("critic",)
    assert catalog.resolve("", "chatgpt").provider == "openai"
    assert catalog.resolve("house/big", "").agents == ("claude",)


def test_model_wins_over_agent():
    """Where both are named, the model decides and the agent is only accounted; a mistyped agent is refused all the same."""
    assert _catalog().resolve("gpt-4o", "claude").id == "gpt-4o"
    with pytest.raises(DomainError) as refused:
        _catalog().resolve("gpt-4o", "nobody")
    assert refused.value.reason is Reason.UNKNOWN_AGENT


def test_unlisted_model_of_a_configured_provider_is_taken():
    """`provider/model` works for whatever an OpenAI-compatible server calls its models, slashes included."""
    model = _catalog(("local",)).resolve("local/meta-llama/Llama-4:latest", "")
    assert (model.provider, model.id, model.default_max_output_tokens) == ("local", "meta-llama/Llama-4:latest", 8_192)


@pytest.mark.parametrize("name", ["gpt4o-mini", "openai", "nobody/gpt-4o-x", "anthropic/unlisted", "x" * 5_000, "/", "/gpt-4o"])
def test_unknown_model_is_refused(name):
    """A name that is neither listed nor a configured provider's is UNKNOWN_MODEL, even with one provider configured."""
    error = _refusal(_catalog().resolve, name, "")
    assert error.reason is Reason.UNKNOWN_MODEL
    assert error.metadata["model"] == name[:256]
    assert "openai" in error.text
    assert len(error.text) < 1_000


def test_refusal_names_the_nearest():
    """A typing error is answered with what was probably meant."""
    error = _refusal(_catalog().resolve, "gpt4o-mini", "")
    assert "gpt-4o-mini" in error.metadata["nearest"]
    assert "did you mean" in error.text
    error = _refusal(_catalog().resolve, "", "claud")
    assert (error.reason, error.metadata["nearest"]) == (Reason.UNKNOWN_AGENT, "claude")
    assert "chatgpt, claude, gemini, perplexity" in error.text


@pytest.mark.parametrize("name", ["openai/a b", "openai/a\x00b", "openai/" + "x" * 257])
def test_unusable_name_is_invalid(name):
    """A model name with spaces, control characters or no end is refused by its field."""
    error = _refusal(_catalog().resolve, name, "")
    assert (error.reason, error.metadata["field"]) == (Reason.INVALID_REQUEST, "model")


def test_no_name_and_no_default_is_invalid():
    """Without a default model a request must name something."""
    bundled = BundledModels(models=(Model(id="m", provider="p"),), agents={}, default_model="")
    assert _refusal(_catalog(bundled=bundled).resolve, "", "").metadata["field"] == "model"
    assert _catalog(bundled=bundled).default is None


def test_listed_model_of_a_missing_provider_is_found_but_not_available():
    """A known model whose provider has no key resolves, so that the refusal can name the provider."""
    catalog = _catalog()
    assert not catalog.available(catalog.resolve("claude-opus-4-5", ""))


def test_settings_add_and_replace_models():
    """A model of the settings is listed, wins its bare name, and replaces the bundled one with its provider and id."""
    models = (
        ModelSettings(id="gpt-4o", provider="openai", context_tokens=99, description="ours"),
        ModelSettings(
            id="tiny", provider="local", aliases=("gpt-4.1",), tier="mini", capabilities=("chat", "vision"), max_output_tokens=100
        ),
    )
    catalog = _catalog(("openai", "local"), models=models)
    assert catalog.resolve("gpt-4o", "").context_tokens == 99
    tiny = catalog.resolve("tiny", "")
    assert (tiny.tier, tiny.capabilities) == (ModelTier.MINI, (Capability.CHAT, Capability.VISION))
    assert tiny.default_max_output_tokens == 100
    assert catalog.resolve("gpt-4.1", "").full_name == "openai/gpt-4.1"  # an id wins over an alias


def test_configured_provider_wins_a_shared_name():
    """Of two providers that list a name, the configured one is meant; the full name reaches either."""
    one, two = Model(id="m", provider="a"), Model(id="m", provider="b")
    bundled = BundledModels(models=(one, two), agents={}, default_model="")
    assert _catalog(("b",), bundled=bundled).resolve("m", "").provider == "b"
    assert _catalog(("a", "b"), bundled=bundled).resolve("m", "").provider == "a"
    assert _catalog(("b",), bundled=bundled).resolve("a/m", "").provider == "a"


def test_provider_with_anothers_prices_runs_its_models():
    """A second account of a provider offers its models; agents and the default use it where the first is not configured."""
    providers = {"work": ProviderSettings(price_provider="openai", base_url="http://127.0.0.1:1")}
    catalog = _catalog(("work",), providers=providers)
    assert catalog.resolve("work/gpt-4o", "").context_tokens == 128_000
    assert catalog.resolve("gpt-4o", "").provider == "work"
    assert catalog.resolve("", "chatgpt").provider == "work"
    assert catalog.resolve("", "").full_name == "work/gpt-4o-mini"
    assert catalog.resolve("", "claude").provider == "anthropic"


def test_list_is_ordered_and_filtered():
    """Models come by provider and id, and every filter holds."""
    catalog = _catalog()
    everything = catalog.list()
    assert [(model.provider, model.id) for model in everything] == sorted((model.provider, model.id) for model in everything)
    assert {model.provider for model in catalog.list(provider="google")} == {"google"}
    assert {model.tier for model in catalog.list(tier=ModelTier.PREMIUM)} == {ModelTier.PREMIUM}
    assert all(Capability.SEARCH in model.capabilities for model in catalog.list(capability=Capability.SEARCH))
    assert catalog.list(provider="nobody") == ()


def test_positions_follow_the_list_and_never_change():
    """Listed models stand in list order, unlisted ones behind them in an order of their own."""
    catalog = _catalog()
    assert [catalog.position(model) for model in catalog.list()] == list(range(len(catalog.list())))
    strangers = [catalog.resolve(f"openai/stranger-{index}", "") for index in range(3)]
    positions = [catalog.position(model) for model in strangers]
    assert min(positions) >= len(catalog.list())
    assert positions == [_catalog().position(model) for model in strangers]


@pytest.mark.parametrize(
    ("settings", "key", "says"),
    [
        ({"default_model": "gpt4o"}, "default_model", "did you mean"),
        ({"agents": {"claude": "anthropic/"}}, "agents.claude", "provider/model"),
        ({"models": [{"id": "m", "provider": "p", "capabilities": ["sing"]}]}, "models.0.capabilities", "'sing'; allowed: chat"),
        ({"models": [{"id": "m", "provider": "p"}, {"id": "n", "provider": "p", "aliases": ["m"]}]}, "models.1.aliases", "'m'"),
        ({"models": [{"id": "m", "provider": "p"}, {"id": "m", "provider": "p"}]}, "models.1.id", "no other model of p"),
    ],
)
def test_bad_settings_name_their_key(settings, key, says):
    """What can't be is refused at the start, by key, value and what is allowed."""
    with pytest.raises(SettingsError, match=r".") as caught:
        _catalog(**settings)
    assert caught.value.key == key
    assert says in str(caught.value)


def test_bundled_models_are_backed_by_published_data():
    """Every bundled model is published with a price, and its context is the published one."""
    from genai_prices.data import providers

    published = {provider.id: provider for provider in providers}
    prices = PriceCatalog()
    for model in bundled_models().models:
        info = published[model.provider].find_model(model.id)
        assert info is not None, model.full_name
        assert (info.context_window or 0) == model.context_tokens, model.full_name
        assert all(published[model.provider].find_model(alias) is info for alias in model.aliases), model.full_name
        assert prices.lookup(model.provider, model.id, 1_795_000_000.0) is not None, model.full_name


def test_bundled_models_are_sound():
    """No bundled default exceeds its limit, and the four models of the first users are there."""
    models = {model.full_name: model for model in bundled_models().models}
    assert models.keys() >= {f"openai/{name}" for name in ("gpt-4o-mini", "gpt-4o", "gpt-4-turbo", "o1-preview")}
    assert models["openai/gpt-4-turbo"].default_max_output_tokens == 4_096
    for model in models.values():
        assert model.description
        assert not model.max_output_tokens or model.default_max_output_tokens <= model.max_output_tokens


def test_shortest_cached_prefixes_are_those_of_the_providers():
    """What a provider's prompt cache keeps at least is known for those models that its pages name, and 0 where they don't."""
    models = {model.full_name: model.min_cacheable_tokens for model in bundled_models().models}
    expected = {
        "anthropic/claude-opus-5": 512,
        "anthropic/claude-sonnet-4-5": 1_024,
        "anthropic/claude-opus-4-5": 4_096,
        "anthropic/claude-haiku-4-5": 4_096,
        "anthropic/claude-sonnet-5-5": 0,
        "openai/gpt-4o": 1_024,
        "openai/gpt-3.5-turbo": 0,
        "google/gemini-2.5-pro": 2_048,
        "google/gemini-3.8-flash": 4_096,
        "google/gemini-4-argon": 6_144,
    }
    assert {name: models[name] for name in expected} == expected


def test_unknown_minimum_is_a_careful_one_where_marks_are_sent():
    """What a provider with marks caches at least counts as 4,096 tokens where nobody knows it, for listed models and others."""
    house = {"providers": {"house": {"adapter": "anthropic"}, "amazon": {"adapter": "bedrock", "price_provider": "aws"}}}
    catalog = _catalog(("anthropic", "house", "amazon", "openai"), **house)
    for name in ("claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5", "anthropic/new", "house/new", "amazon/new"):
        assert catalog.resolve(name, "").min_cacheable_tokens == 4_096, name
    assert catalog.resolve("claude-opus-5", "").min_cacheable_tokens == 512
    assert catalog.resolve("gpt-3.5-turbo", "").min_cacheable_tokens == 0
    assert catalog.resolve("openai/new", "").min_cacheable_tokens == 0
    own = {"models": [{"id": "claude-sonnet-5-5", "provider": "anthropic", "min_cacheable_tokens": 1}]}
    assert _catalog(("anthropic",), **own).resolve("claude-sonnet-5-5", "").min_cacheable_tokens == 1


def test_adapters_with_marks_are_those_that_are_sent_some():
    """The catalog assumes a minimum exactly where plans mark."""
    assert MARKING_ADAPTERS == plans.MARKING_ADAPTERS


def test_perplexity_is_reached_through_its_agent_api():
    """The agent's model is named as the Agent API names it, and its short name means the same."""
    catalog = _catalog(ALL_PROVIDERS)
    assert catalog.resolve("", "perplexity").id == "perplexity/sonar"
    assert catalog.resolve("perplexity/sonar", "") is catalog.resolve("", "perplexity")
    assert catalog.resolve("perplexity/anthropic/claude-sonnet-4-5", "").id == "anthropic/claude-sonnet-4-5"


def test_models_are_values():
    """Equal facts are equal models, and none can be changed."""
    model = _catalog().resolve("gpt-4o", "")
    assert model == replace(model)
    with pytest.raises(AttributeError):
        model.id = "other"  # type: ignore[misc]
