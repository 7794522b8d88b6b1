"""The configured providers by name, one account for each key; their SDKs are imported in a thread, when needed or ahead of it."""

import asyncio
import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from aigend.config import WELL_KNOWN, ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.address import on_loopback
from aigend.providers.batch_port import BatchProvider
from aigend.providers.pooling import one_pool
from aigend.providers.port import Provider

ADAPTERS = {  # wire format -> module with `connect`
    "openai": "aigend.providers.openai.chat",  # chat completions
    "openai-responses": "aigend.providers.openai.responses",
    "anthropic": "aigend.providers.anthropic.messages",
    "bedrock": "aigend.providers.anthropic.bedrock",
    "gemini": "aigend.providers.gemini.provider",
    "perplexity": "aigend.providers.perplexity.agent",  # its Agent API
    "sonar": "aigend.providers.perplexity.sonar",  # its chat format until September 2026
}
BATCH_ADAPTERS = {  # the wire formats with batch jobs -> module with `connect`
    "openai": "aigend.providers.openai.batch",
    "openai-responses": "aigend.providers.openai.batch",
    "anthropic": "aigend.providers.anthropic.batch",
    "gemini": "aigend.providers.gemini.batch",
}
_FIND_THEIR_OWN_KEYS = frozenset(("bedrock",))  # where the cloud's own tools look

_log = structlog.get_logger("aigend.providers")


@dataclass(frozen=True, slots=True)
class Account:
    """A provider with one of its keys; `number` is the key's position among those configured, from 1."""

    number: int
    provider: Provider
    batch: BatchProvider | None = None  # its batch API; None where it has none
    identity: str = field(default="", repr=False)  # differs with key and address; never shown

    def fingerprint(self, salt: str) -> str:
        """Return eight characters that tell this account's key and address from others, and nobody what they are."""
        return hashlib.sha256(f"{salt} {self.identity}".encode()).hexdigest()[:8]

    async def aclose(self) -> None:
        """Close the connections."""
        await self.provider.aclose()
        if self.batch is not None:
            await self.batch.aclose()


class ProviderRegistry:
    """Hands out the accounts of providers, each built once.

    Args:
        providers: Settings by name, keys filled in.
        answer_bytes: Longest answer that is read.
    """

    def __init__(self, providers: Mapping[str, ProviderSettings], *, answer_bytes: int) -> None:
        self._settings = dict(providers)
        self._answer_bytes = answer_bytes
        self._accounts: dict[str, tuple[Account, ...]] = {}
        self._retired: list[Account] = []  # settings have passed them by, but calls may still be under way
        self._building: dict[str, asyncio.Task[tuple[Account, ...]]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All configured names."""
        return tuple(self._settings)

    def configured(self, name: str) -> bool:
        """Return whether the provider has all that a call needs; servers on this machine often want no key."""
        settings = self._settings.get(name)
        if settings is None:
            return False
        keyless = settings.adapter in _FIND_THEIR_OWN_KEYS or on_loopback(settings.base_url or "")
        return keyless or bool(settings.numbered_keys)

    def loaded(self, name: str) -> bool:
        """Return whether the provider can be called without waiting for an import."""
        return name in self._accounts

    async def ready(self, name: str) -> tuple[Account, ...]:
        """Return a provider's accounts, at least one, waiting for its SDK's import where that is still going on.

        Raises:
            DomainError: PROVIDER_NOT_CONFIGURED, saying where a key may come from.
        """
        accounts = self._accounts.get(name)
        if accounts is not None:
            return accounts
        self._require(name)
        return await asyncio.shield(self._build(name))

    def start_loading(self) -> None:
        """Begin to import the SDKs of all configured providers in a thread; calls that come earlier wait for it."""
        for name in self._settings:
            if self.configured(name) and name not in self._accounts:
                self._build(name)

    def use(self, providers: Mapping[str, ProviderSettings]) -> frozenset[str]:
        """Serve these providers from now on and return the names of those that are others now, or gone.

        Unchanged ones stay, and calls under way end with what they began with.
        """
        changed = frozenset(name for name, settings in self._settings.items() if providers.get(name) != settings)
        for name in changed:
            self._retired += self._accounts.pop(name, ())
        self._settings = dict(providers)
        self.start_loading()
        return changed

    async def aclose(self) -> None:
        """Close all connections."""
        for task in self._building.values():
            task.cancel()
        await asyncio.gather(*self._building.values(), return_exceptions=True)
        for account in (*(account for accounts in self._accounts.values() for account in accounts), *self._retired):
            await account.aclose()
        self._accounts.clear()
        self._retired.clear()

    def _build(self, name: str) -> asyncio.Task[tuple[Account, ...]]:
        task = self._building.get(name)
        if task is None:
            task = self._building[name] = asyncio.create_task(self._load(name))
            task.add_done_callback(lambda built: self._built(name, built))
        return task

    def _built(self, name: str, task: asyncio.Task[tuple[Account, ...]]) -> None:
        del self._building[name]
        if not task.cancelled():
            task.exception()  # whoever waits gets it; where nobody does, the next call builds again

    async def _load(self, name: str) -> tuple[Account, ...]:
        settings = self._settings[name]
        for number, source in enumerate(settings.keys, 1):
            if source.value is None:
                _log.warning("key_missing", provider=name, key=number)
        accounts = await asyncio.to_thread(_connect, name, settings, answer_bytes=self._answer_bytes)
        if self._settings.get(name) == settings:
            self._accounts[name] = accounts
        else:
            self._retired += accounts
        return accounts

    def _require(self, name: str) -> None:
        if self.configured(name):
            return
        known = ", ".join(self._settings) or "none"
        text = (
            f"provider {name} is not configured; configured: {known}"
            if name not in self._settings
            else f"provider {name} has no key"
        )
        usual = f", or the environment variable {WELL_KNOWN[name].key}" if name in WELL_KNOWN else ""
        sources = ", ".join(f"providers.{name}.{source}" for source in ("api_key_file", "api_key_env", "api_key"))
        where = f"{sources} or providers.{name}.keys{usual}"
        raise DomainError(Reason.PROVIDER_NOT_CONFIGURED, f"{text}; a key may come from {where}", provider=name, allowed=where)


def _connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> tuple[Account, ...]:
    """Build an account for each key, all over the same connections; where no key is needed, one without."""
    accounts: list[Account] = []
    module: Any = importlib.import_module(ADAPTERS[settings.adapter])
    batches: Any = importlib.import_module(BATCH_ADAPTERS[settings.adapter]) if settings.adapter in BATCH_ADAPTERS else None
    keys = settings.numbered_keys or ((1, None),)
    with one_pool():
        for number, key in keys:
            own = settings.model_copy(update={"api_key": key, "keys": ()})
            batch = batches.connect(name, own, answer_bytes=answer_bytes) if batches is not None else None
            identity = f"{own.base_url or ''} {own.api_key.get_secret_value() if own.api_key else ''}"
            accounts.append(Account(number, module.connect(name, own, answer_bytes=answer_bytes), batch, identity))
    return tuple(accounts)
