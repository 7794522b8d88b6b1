"""The configured providers by name; their SDKs are imported in a thread, when first needed or ahead of it."""

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.address import on_loopback
from aigend.providers.port import Provider

ADAPTERS = {"openai": "aigend.providers.openai"}  # wire format -> module with `connect`
_DEFAULT_KEY = {"openai": "OPENAI_API_KEY"}
_DEFAULT_ADDRESS = {"openai": "OPENAI_BASE_URL"}


def with_environment(providers: Mapping[str, ProviderSettings], environment: Mapping[str, str]) -> dict[str, ProviderSettings]:
    """Return the providers with what the well-known variables add: `openai` needs no settings where OPENAI_API_KEY is set.

    Args:
        providers: As the settings name them; what they say wins.
        environment: Where OPENAI_API_KEY and OPENAI_BASE_URL are looked up.
    """
    merged = dict(providers)
    for name, variable in _DEFAULT_KEY.items():
        key, address = environment.get(variable, "").strip(), environment.get(_DEFAULT_ADDRESS[name], "").strip()
        known = providers.get(name)
        if known is None and key:
            merged[name] = ProviderSettings(api_key=SecretStr(key), base_url=address or None)
        elif known is not None and known.api_key is None and known.base_url is None and key:
            merged[name] = known.model_copy(update={"api_key": SecretStr(key), "base_url": address or None})
    return merged


class ProviderRegistry:
    """Hands out providers, each built once.

    Args:
        providers: Settings by name, keys filled in.
        answer_bytes: Longest answer that is read.
    """

    def __init__(self, providers: Mapping[str, ProviderSettings], *, answer_bytes: int) -> None:
        self._settings = dict(providers)
        self._answer_bytes = answer_bytes
        self._providers: dict[str, Provider] = {}
        self._retired: list[Provider] = []  # settings have passed them by, but calls may still be under way
        self._building: dict[str, asyncio.Task[Provider]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All configured names."""
        return tuple(self._settings)

    def configured(self, name: str) -> bool:
        """Return whether the provider has all that a call needs; servers on this machine often want no key."""
        settings = self._settings.get(name)
        return settings is not None and (settings.api_key is not None or on_loopback(settings.base_url or ""))

    def loaded(self, name: str) -> bool:
        """Return whether the provider can be called without waiting for an import."""
        return name in self._providers

    def get(self, name: str) -> Provider:
        """Return a provider that is loaded.

        Raises:
            DomainError: PROVIDER_NOT_CONFIGURED.
            KeyError: It is not loaded yet; use `ready`.
        """
        self._require(name)
        return self._providers[name]

    async def ready(self, name: str) -> Provider:
        """Return a provider, waiting for its SDK's import where that is still going on.

        Raises:
            DomainError: PROVIDER_NOT_CONFIGURED, saying where a key may come from.
        """
        provider = self._providers.get(name)
        if provider is not None:
            return provider
        self._require(name)
        return await asyncio.shield(self._build(name))

    def start_loading(self) -> None:
        """Begin to import the SDKs of all configured providers in a thread; calls that come earlier wait for it."""
        for name in self._settings:
            if self.configured(name) and name not in self._providers:
                self._build(name)

    def use(self, providers: Mapping[str, ProviderSettings]) -> None:
        """Serve these providers from now on; unchanged ones stay, and calls under way end with what they began with."""
        changed = [name for name in self._providers if providers.get(name) != self._settings[name]]
        self._retired += [self._providers.pop(name) for name in changed]
        self._settings = dict(providers)
        self.start_loading()

    async def aclose(self) -> None:
        """Close all connections."""
        for task in self._building.values():
            task.cancel()
        await asyncio.gather(*self._building.values(), return_exceptions=True)
        for provider in (*self._providers.values(), *self._retired):
            await provider.aclose()
        self._providers.clear()
        self._retired.clear()

    def _build(self, name: str) -> asyncio.Task[Provider]:
        task = self._building.get(name)
        if task is None:
            task = self._building[name] = asyncio.create_task(self._load(name))
            task.add_done_callback(lambda _: self._building.pop(name, None))
        return task

    async def _load(self, name: str) -> Provider:
        settings = self._settings[name]
        provider = await asyncio.to_thread(_connect, name, settings, answer_bytes=self._answer_bytes)
        if self._settings.get(name) == settings:
            self._providers[name] = provider
        else:
            self._retired.append(provider)
        return provider

    def _require(self, name: str) -> None:
        if self.configured(name):
            return
        known = ", ".join(self._settings) or "none"
        text = (
            f"provider {name} is not configured; configured: {known}"
            if name not in self._settings
            else f"provider {name} has no key"
        )
        source = f", or the environment variable {_DEFAULT_KEY[name]}" if name in _DEFAULT_KEY else ""
        where = f"providers.{name}.api_key_file, providers.{name}.api_key_env or providers.{name}.api_key{source}"
        raise DomainError(Reason.PROVIDER_NOT_CONFIGURED, f"{text}; a key may come from {where}", provider=name, allowed=where)


def _connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> Provider:
    module: Any = importlib.import_module(ADAPTERS[settings.adapter])
    provider: Provider = module.connect(name, settings, answer_bytes=answer_bytes)
    return provider
