"""Providers that work without settings, and what their names stand for."""

import pytest
from aigend.config import WELL_KNOWN, KeySource, ProviderSettings, Settings, with_environment
from pydantic import SecretStr

ADAPTERS = {"openai": "openai", "anthropic": "anthropic", "google": "gemini", "perplexity": "perplexity"}
KEY = "sk-env"


@pytest.mark.parametrize("name", WELL_KNOWN)
def test_the_usual_variables_are_enough(name: str) -> None:
    """A key and an address in the environment make a provider without settings, that speaks its own format."""
    usual = WELL_KNOWN[name]
    made = with_environment({}, {usual.key: f" {KEY} ", usual.address: "https://example.com/v1"})
    assert list(made) == [name]
    provider = made[name]
    assert (provider.api_key.get_secret_value(), provider.base_url, provider.adapter) == (
        KEY,
        "https://example.com/v1",
        ADAPTERS[name],
    )
    assert KEY not in repr(made)
    assert with_environment({}, {usual.key: KEY})[name].base_url is None
    assert with_environment({}, {usual.key: " "}) == {}


@pytest.mark.parametrize("name", WELL_KNOWN)
@pytest.mark.parametrize(
    "said",
    [
        {"api_key": SecretStr("own")},
        {"api_key_env": "NOT_SET"},
        {"base_url": "http://127.0.0.1:1/v1"},
        {"keys": (KeySource(env="NOT_SET"),)},
    ],
    ids=lambda said: next(iter(said)),
)
def test_settings_win_over_the_environment(name: str, said: dict) -> None:
    """A key or an address in the settings is not mixed with the environment's, even where it leads to no key."""
    providers = {name: ProviderSettings(**said)}
    assert with_environment(providers, {WELL_KNOWN[name].key: KEY}) == providers


def test_a_section_that_says_neither_is_completed() -> None:
    """Other settings of a provider stay beside the key of the environment."""
    providers = {"anthropic": ProviderSettings(timeout_s=5.0), "other": ProviderSettings()}
    made = with_environment(providers, {"ANTHROPIC_API_KEY": KEY})
    assert (made["anthropic"].timeout_s, made["anthropic"].adapter) == (5.0, "anthropic")
    assert made["anthropic"].api_key.get_secret_value() == KEY
    assert made["other"] == ProviderSettings()


def test_a_name_stands_for_a_wire_format_unless_told_otherwise() -> None:
    """anthropic, google and perplexity speak their own; every other name, and a plain wish, is taken as it is."""
    names = ("anthropic", "google", "perplexity", "openai", "vllm")
    settings = Settings(providers={name: {} for name in names})
    assert [settings.providers[name].adapter for name in names] == ["anthropic", "gemini", "perplexity", "openai", "openai"]
    assert Settings(providers={"google": {"adapter": "openai"}}).providers["google"].adapter == "openai"
