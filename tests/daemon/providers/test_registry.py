"""Configured providers by name, and when their SDKs are imported."""

import asyncio
import subprocess
import sys

import pytest
from aigend.config import KeySource, ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.address import on_loopback
from aigend.providers.registry import ProviderRegistry
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.emulator_server import RunningEmulator

WITH_KEY = ProviderSettings(api_key=SecretStr("sk-test"))
THREE_KEYS = tuple(
    KeySource(env=f"KEY_{number}", value=value) for number, value in enumerate((SecretStr("a"), None, SecretStr("c")), 1)
)


async def only(registry: ProviderRegistry, name: str):
    """Return the provider of the only account."""
    (account,) = await registry.ready(name)
    assert account.number == 1
    return account.provider


async def test_a_provider_is_built_once_when_first_needed(emulator: RunningEmulator) -> None:
    """Calls that come before the import wait for the same provider, and it answers."""
    registry = ProviderRegistry({"local": ProviderSettings(base_url=emulator.base_url)}, answer_bytes=10_000)
    assert not registry.loaded("local")
    first, second = await asyncio.gather(registry.ready("local"), registry.ready("local"))
    assert first is second is await registry.ready("local")
    assert registry.loaded("local")
    provider = await only(registry, "local")
    assert (await provider.complete(call())).parts
    assert (provider.name, provider.adapter) == ("local", "openai")
    await registry.aclose()


async def test_loading_may_begin_ahead() -> None:
    """After `start_loading` a provider is there without anybody asking; one without a key is left alone."""
    registry = ProviderRegistry(
        {"openai": WITH_KEY, "far": ProviderSettings(base_url="https://example.com/v1")}, answer_bytes=10_000
    )
    registry.start_loading()
    await registry.ready("openai")
    registry.start_loading()
    assert (registry.loaded("openai"), registry.loaded("far")) == (True, False)
    assert registry.names == ("openai", "far")
    await registry.aclose()


async def test_a_caller_that_leaves_does_not_stop_the_import() -> None:
    """A cancelled call leaves the import going for the others."""
    registry = ProviderRegistry({"openai": WITH_KEY}, answer_bytes=10_000)
    task = asyncio.create_task(registry.ready("openai"))
    await asyncio.sleep(0)
    task.cancel()
    assert await registry.ready("openai")
    await registry.aclose()


async def test_closing_while_loading_is_harmless() -> None:
    """A stop right after the start waits for nothing."""
    registry = ProviderRegistry({"openai": WITH_KEY}, answer_bytes=10_000)
    registry.start_loading()
    await registry.aclose()
    assert not registry.loaded("openai")


async def test_other_settings_replace_only_what_changed() -> None:
    """An unchanged provider stays, a changed one is built anew, a removed one is gone; nothing is closed under a call."""
    registry = ProviderRegistry({"a": WITH_KEY, "b": WITH_KEY, "c": WITH_KEY}, answer_bytes=10_000)
    before = {name: await only(registry, name) for name in registry.names}
    assert registry.use({"a": WITH_KEY, "b": ProviderSettings(api_key=SecretStr("sk-other"))}) == {"b", "c"}
    assert await only(registry, "a") is before["a"]
    assert await only(registry, "b") is not before["b"]
    assert not registry.configured("c")
    assert not before["b"]._client.is_closed()
    await registry.aclose()
    assert before["b"]._client.is_closed()
    assert before["c"]._client.is_closed()


async def test_a_provider_built_from_old_settings_is_not_kept() -> None:
    """Who waited for the import while settings changed gets an answer, but the next call sees the new settings."""
    registry = ProviderRegistry({"a": WITH_KEY}, answer_bytes=10_000)
    waiting = asyncio.create_task(registry.ready("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    registry.use({"a": ProviderSettings(api_key=SecretStr("sk-other"))})
    old = await waiting
    assert not registry.loaded("a")
    assert await registry.ready("a") is not old
    await registry.aclose()


async def test_each_key_has_an_account_over_the_same_connections(emulator: RunningEmulator) -> None:
    """Keys are told apart by their place in the settings; one that is missing is left out and named, never shown."""
    registry = ProviderRegistry({"local": ProviderSettings(base_url=emulator.base_url, keys=THREE_KEYS)}, answer_bytes=10_000)
    accounts = await registry.ready("local")
    assert [account.number for account in accounts] == [1, 3]
    assert [account.provider._client.api_key for account in accounts] == ["a", "c"]
    first, second = (account.provider._client._client._transport for account in accounts)
    assert first is second
    for account in accounts:
        assert (await account.provider.complete(call())).parts
    await registry.aclose()
    assert all(account.provider._client.is_closed() for account in accounts)


async def test_other_providers_have_connections_of_their_own(emulator: RunningEmulator) -> None:
    """Two names for one address share nothing: one may be changed and closed without the other."""
    settings = ProviderSettings(base_url=emulator.base_url)
    registry = ProviderRegistry({"a": settings, "b": settings}, answer_bytes=10_000)
    first, second = [(await only(registry, name))._client._client._transport for name in registry.names]
    assert first is not second
    await registry.aclose()


async def test_a_provider_that_can_not_be_built_is_tried_again() -> None:
    """What went wrong while building is told to whoever waits, and nothing is left behind."""
    unusable = WITH_KEY.model_copy(update={"adapter": "gone"})
    registry = ProviderRegistry({"a": unusable}, answer_bytes=10_000)
    for _ in range(2):
        with pytest.raises(KeyError):
            await registry.ready("a")
    assert not registry.loaded("a")
    await registry.aclose()


def test_clouds_find_their_own_keys() -> None:
    """A provider whose adapter looks for credentials itself needs none of ours."""
    registry = ProviderRegistry({"a": ProviderSettings(adapter="bedrock"), "b": ProviderSettings()}, answer_bytes=10_000)
    assert [registry.configured(name) for name in ("a", "b")] == [True, False]


@pytest.mark.parametrize(
    ("providers", "name", "told"),
    [
        ({}, "openai", "provider openai is not configured; configured: none; a key may come from providers.openai.api_key_file"),
        ({"a": WITH_KEY}, "b", "provider b is not configured; configured: a"),
        ({"openai": ProviderSettings()}, "openai", "provider openai has no key; .*or the environment variable OPENAI_API_KEY"),
        ({"x": ProviderSettings(base_url="https://example.com")}, "x", "provider x has no key"),
        ({"x": ProviderSettings(keys=(KeySource(env="NOT_SET"),))}, "x", "provider x has no key; .*or providers.x.keys"),
    ],
)
async def test_a_missing_provider_says_where_a_key_may_come_from(providers, name: str, told: str) -> None:
    """PROVIDER_NOT_CONFIGURED names the provider and every source of a key."""
    registry = ProviderRegistry(providers, answer_bytes=10_000)
    assert not registry.configured(name)
    with pytest.raises(DomainError, match=told) as caught:
        await registry.ready(name)
    assert caught.value.reason is Reason.PROVIDER_NOT_CONFIGURED


def test_the_registry_itself_imports_no_sdk() -> None:
    """Before a provider is needed its SDK is not in memory."""
    script = "import sys, aigend.providers.registry; print([name for name in ('openai', 'httpx2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.8.0.1/", True),
        ("http://[::1]:1/", True),
        ("https://127.example.com", False),
        ("", False),
    ],
)
def test_loopback_is_recognised(address: str, *, near: bool) -> None:
    """Addresses of this machine are told from others."""
    assert on_loopback(address) is near
