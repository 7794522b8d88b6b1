"""Budgets in a whole daemon: names in selectors, and what is said of those that can't hold."""

import os
import signal
from pathlib import Path

import aigen
import pytest
from aigend.assembly import make_snapshot
from aigend.config import SettingsError
from aigend.ledger.prices.published import PublishedPrices

from tests.emulator_server import RunningEmulator
from tests.serving import MODEL, eventually, loaded_settings, serving, write_settings

NOTHING = {"period": "daily", "limit_usd": "0"}
HELPER = {"models": [{"id": MODEL, "provider": "openai", "aliases": ["nick"]}], "agents": {"helper": f"openai/{MODEL}"}}
ASKED = ({"model": MODEL}, {"model": f"openai/{MODEL}"}, {"model": "nick"}, {"agent": "helper"})


@pytest.mark.parametrize("selected", [MODEL, f"openai/{MODEL}", "nick"])
@pytest.mark.parametrize("where", ["settings", "set"])
async def test_budget_of_a_model_holds_under_each_of_its_names(
    tmp_path: Path, emulator: RunningEmulator, selected: str, where: str
):
    """Whatever name the selector has and whatever name the request has: it is the same model, and nothing is paid."""
    budget = {"name": "none", "selector": {"model": selected}, **NOTHING}
    async with serving(tmp_path, emulator.base_url, budgets=[budget] if where == "settings" else [], **HELPER) as house:
        if where == "set":
            await house.client.set_budget("none", selector={"model": selected}, **NOTHING)
        for asked in ASKED:
            with pytest.raises(aigen.BudgetExceeded):
                await house.client.complete("who pays", **asked)
        shown = await house.client.budget("none")
        assert shown.selector == {"model": selected}
    assert emulator.charges() == []


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"budgets": [{"name": "b", "selector": {"model": "gpt4o"}, **NOTHING}]}, "budgets.0.selector.model is 'gpt4o'"),
        ({"budgets": [{"name": "b", "action": "downgrade", "downgrade_to": "gpt4o", **NOTHING}]}, "budgets.0.downgrade_to 'gpt4o'"),
        ({"default_model": "gpt4o"}, "default_model 'gpt4o'"),
        ({"services": {"a.b": {"default_model": "gpt4o"}}}, "services.a.b.default_model 'gpt4o'"),
    ],
)
def test_name_that_is_not_known_is_refused_with_file_and_line(tmp_path: Path, settings: dict, key: str):
    """What only the catalog can tell is refused at the line where it is written, like all else."""
    loaded = loaded_settings(tmp_path, "http://127.0.0.1:1", **settings)
    assert loaded.path is not None
    line = next(number for number, text in enumerate(loaded.path.read_text().splitlines(), 1) if "gpt4o" in text)
    with pytest.raises(SettingsError) as refused:
        make_snapshot(loaded, environ={}, published=PublishedPrices())
    assert str(refused.value).startswith(f"{loaded.path}:{line}: {key}")


async def test_set_budget_whose_name_is_gone_is_told_and_stops_nothing(
    tmp_path: Path, emulator: RunningEmulator, capsys: pytest.CaptureFixture[str]
):
    """A budget in the ledger that names an agent which the settings have no more: start and reload warn, status shows it."""
    text = "budget none holds for nothing: agent is 'helper' in its selector; allowed: an agent that is known: "
    async with serving(tmp_path, emulator.base_url, **HELPER) as house:
        await house.client.set_budget("none", selector={"agent": "helper"}, **NOTHING)
        assert (await house.client.status()).warnings == ()
        write_settings(tmp_path, emulator.base_url)
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: "budget_idle" in capsys.readouterr().out)
        assert [warning for warning in (await house.client.status()).warnings if warning.startswith(text)]
    async with serving(tmp_path, emulator.base_url) as house:
        assert "budget_idle" in capsys.readouterr().out
        assert [warning for warning in (await house.client.status()).warnings if warning.startswith(text)]
        assert (await house.client.complete("who pays", model=MODEL)).cache_outcome == "miss"
