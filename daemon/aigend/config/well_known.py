"""Providers that need no settings: those whose usual variables stand in the daemon's environment."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import SecretStr

from aigend.config.sections import ProviderSettings, Settings, with_usual_adapter
from aigend.config.yaml_file import KeyPath


class UsualVariables(NamedTuple):
    """Where a provider's own tools look for its key and its address."""

    key: str
    address: str


WELL_KNOWN = {
    "openai": UsualVariables("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic": UsualVariables("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    "google": UsualVariables("GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
    "perplexity": UsualVariables("PERPLEXITY_API_KEY", "PERPLEXITY_BASE_URL"),
}


def with_environment(providers: Mapping[str, ProviderSettings], environment: Mapping[str, str]) -> dict[str, ProviderSettings]:
    """Return the providers with what the usual variables add: where a key is set, its provider works without settings.

    Args:
        providers: As the settings name them; where they say anything of key or address, they alone count.
        environment: Where the variables are looked up.
    """
    merged = dict(providers)
    for name, usual in WELL_KNOWN.items():
        key, address = (environment.get(variable, "").strip() for variable in usual)
        known = providers.get(name)
        if key and (known is None or not _says_whom(known)):
            added = {"api_key": SecretStr(key), "base_url": address or None}
            merged[name] = with_usual_adapter(name, known or ProviderSettings()).model_copy(update=added)
    return merged


def ignored_addresses(settings: Settings, environment: Mapping[str, str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and what is to be said of each usual address that is set and not used: keys and prompts go elsewhere.

    Args:
        settings: Settings whose keys have been filled in.
        environment: Where the variables are looked up.
    """
    for name, usual in WELL_KNOWN.items():
        provider = settings.providers.get(name)
        if provider is None or provider.base_url is not None or not _says_whom(provider):
            continue
        if environment.get(usual.address, "").strip():
            source = next((source for source in _KEY_SOURCES if getattr(provider, source)), None)
            place: KeyPath = ("providers", name) if source is None else ("providers", name, source)
            yield (
                place,
                f"says where the key comes from, so the variable {usual.address}, which is set, is not used: calls go to the "
                f"provider's own address; allowed: providers.{name}.base_url for another one",
            )


_KEY_SOURCES = ("api_key_env", "api_key_file", "keys", "api_key")


def _says_whom(provider: ProviderSettings) -> bool:
    sources = (provider.api_key, provider.api_key_file, provider.api_key_env, provider.base_url)
    return bool(provider.keys) or any(source is not None for source in sources)
