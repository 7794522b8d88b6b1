"""Configured providers by name, and when their SDKs are imported."""

import asyncio
import subprocess
import sys

import pytest
from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.address import on_loopback
from aigend.providers.registry import ProviderRegistry, with_environment
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.emulator_server import RunningEmulator

WITH_KEY = ProviderSettings(api_key=SecretStr("sk-test"))


async def test_a_provider_is_built_once_when_first_needed(emulator: RunningEmulator) -> None:
    """Calls that come before the import wait for the same provider, and it answers."""
    registry = ProviderRegistry({"local": ProviderSettings(base_url=emulator.base_url)}, answer_bytes=10_000)
    assert not registry.loaded("local")
    first, second = await asyncio.gather(registry.ready("local"), registry.ready("local"))
    assert first is second is registry.get("local") is await registry.ready("local")
    assert registry.loaded("local")
    assert (await first.complete(call())).parts
    assert (first.name, first.adapter) == ("local", "openai")
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
    before = {name: await registry.ready(name) for name in registry.names}
    registry.use({"a": WITH_KEY, "b": ProviderSettings(api_key=SecretStr("sk-other"))})
    assert await registry.ready("a") is before["a"]
    assert await registry.ready("b") is not before["b"]
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


@pytest.mark.parametrize(
    ("providers", "name", "told"),
    [
        ({}, "openai", "provider openai is not configured; configured: none; a key may come from providers.openai.api_key_file"),
        ({"a": WITH_KEY}, "b", "provider b is not configured; configured: a"),
        ({"openai": ProviderSettings()}, "openai", "provider openai has no key; .*or the environment variable OPENAI_API_KEY"),
        ({"x": ProviderSettings(base_url="https://example.com")}, "x", "provider x has no key"),
    ],
)
async def test_a_missing_provider_says_where_a_key_may_come_from(providers, name: str, told: str) -> None:
    """PROVIDER_NOT_CONFIGURED names the provider and every source of a key."""
    registry = ProviderRegistry(providers, answer_bytes=10_000)
    assert not registry.configured(name)
    with pytest.raises(DomainError, match=told) as caught:
        await registry.ready(name)
    assert caught.value.reason is Reason.PROVIDER_NOT_CONFIGURED
    with pytest.raises(DomainError):
        registry.get(name)


def test_the_environment_is_enough_for_openai() -> None:
    """OPENAI_API_KEY and OPENAI_BASE_URL make a provider without settings."""
    made = with_environment({}, {"OPENAI_API_KEY": "sk-env", "OPENAI_BASE_URL": "https://example.com/v1"})["openai"]
    assert made.api_key.get_secret_value() == "sk-env"
    assert made.base_url == "https://example.com/v1"
    assert "sk-env" not in repr(made)
    assert with_environment({}, {"OPENAI_API_KEY": " "}) == {}


def test_settings_win_over_the_environment() -> None:
    """A key or an address in the settings is not mixed with the environment's; a bare section is completed."""
    environment = {"OPENAI_API_KEY": "sk-env"}
    local = ProviderSettings(base_url="http://127.0.0.1:1/v1")
    assert with_environment({"openai": WITH_KEY}, environment) == {"openai": WITH_KEY}
    assert with_environment({"openai": local}, environment) == {"openai": local}
    completed = with_environment({"openai": ProviderSettings(timeout_s=5.0)}, environment)["openai"]
    assert (completed.api_key.get_secret_value(), completed.timeout_s) == ("sk-env", 5.0)


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
