"""Providers that need no settings: those whose usual variables stand in the daemon's environment."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import SecretStr

from aigend.config.sections import ProviderSettings, with_usual_adapter


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


def _says_whom(provider: ProviderSettings) -> bool:
    sources = (provider.api_key, provider.api_key_file, provider.api_key_env, provider.base_url)
    return bool(provider.keys) or any(source is not None for source in sources)
