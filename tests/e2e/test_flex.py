"""Lane FLEX from end to end: a real daemon, real SDKs, and emulated providers that sell at two prices."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aigen
import pytest

from tests.e2e.running import Aigend, Warm
from tests.emulator_server import RunningEmulator

pytestmark = pytest.mark.not_on_floor
PRICES = """
version: "1"
currency: USD
source: test
checked_on: 2026-11-20
providers:
  openai: {gpt-x: {input: 4, output: 10, flex: {input: 2, output: 5}}}
  google: {gemini-x: {input: 4, output: 10, flex: {input: 2, output: 5}}}
  anthropic: {claude-x: {input: 4, output: 10}}
"""
MODELS = ("openai/gpt-x", "google/gemini-x")
NOWHERE = "anthropic/claude-x"  # its provider has no such tier


@pytest.fixture
def daemon(tmp_path: Path, emulator: RunningEmulator, warm: Warm) -> Iterator[Aigend]:
    """A daemon with two providers that have a cheaper tier, and one that has none."""
    folder = tmp_path / "a"
    folder.mkdir(mode=0o700)
    (folder / "prices.yaml").write_text(PRICES, encoding="utf-8")
    names = {"openai": {"service_tiers": "send"}, "google": {"service_tiers": "send"}, "anthropic": {}}
    settings = {
        "prices": {"file": str(folder / "prices.yaml")},
        "providers": {
            name: {"base_url": emulator.provider_url(name), "api_key_env": "E2E_KEY"} | more for name, more in names.items()
        },
        "models": [{"id": model.partition("/")[2], "provider": model.partition("/")[0]} for model in (*MODELS, NOWHERE)],
    }
    with closing(Aigend(folder, settings=settings, warm=warm)) as running:
        yield running.start()


@pytest.mark.parametrize("model", MODELS)
def test_flex_is_billed_as_the_provider_served_it(daemon: Aigend, emulator: RunningEmulator, model: str) -> None:
    """Served at the cheaper tier a call costs half and says what it saved; served at the ordinary one it costs that."""
    client = daemon.client()
    cheap = client.complete("cheaply", model=model, lane="flex")
    emulator.script({"tier": "default"})
    dear = client.complete("dearly", model=model, lane="flex")
    for answer, charge, tier, share in zip((cheap, dear), emulator.charges(), ("flex", "standard"), (1, 2), strict=True):
        assert charge["processing"] == tier
        assert answer.cost_usd_nanos == share * (charge["input_tokens"] * 2_000 + charge["output_tokens"] * 5_000)
    assert (cheap.saved_usd_nanos, cheap.saved_cause) == (cheap.cost_usd_nanos, aigen.SavingsCause.BATCH)
    assert dear.saved_usd_nanos is None
    assert client.complete("cheaply", model=model).cache_outcome == aigen.CacheOutcome.HIT


def test_a_provider_without_the_tier_is_passed_by(daemon: Aigend, emulator: RunningEmulator) -> None:
    """Such a call goes to the next route, or is refused; it is never sent at the ordinary price."""
    client = daemon.client()
    answer = client.complete("somewhere", model=NOWHERE, fallback_models=[MODELS[0]], lane="flex")
    assert answer.provider == "openai"
    with pytest.raises(aigen.PreconditionFailed) as refused:
        client.complete("nowhere", model=NOWHERE, lane="flex")
    assert refused.value.metadata["field"] == "lane"
    assert [charge["processing"] for charge in emulator.charges()] == ["flex"]
