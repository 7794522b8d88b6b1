"""What must hold between settings."""

from pathlib import Path

import pytest
from aigend.config import Settings, SettingsError, load_settings
from aigend.config.rules import findings

BUDGET = {"name": "a", "period": "daily", "limit_usd": "1"}


def wrong(**values: object) -> list[tuple[str, str]]:
    """Return place and allowed values of everything that does not hold."""
    return [(".".join(map(str, found.path)), found.allowed) for found in findings(Settings(**values))]


@pytest.mark.parametrize(
    ("values", "place", "allowed"),
    [
        ({"socket": "relative.sock"}, "socket", "absolute"),
        ({"state_directory": ""}, "state_directory", "absolute"),
        ({"cache_directory": "x"}, "cache_directory", "absolute"),
        ({"prices": {"file": "/does/not/exist.yaml"}}, "prices.file", "exists"),
        ({"prices": {"url": "http://example.com/data.json"}}, "prices.url", "https"),
        ({"currency": {"code": "KRW"}}, "currency.rates", "at least one rate"),
        ({"currency": {"code": "KRW", "rates": {"2026-1-1": "2"}}}, "currency.rates.2026-1-1", "YYYY-MM-DD"),
        ({"currency": {"code": "KRW", "rates": {"2026-01-01": "0"}}}, "currency.rates.2026-01-01", "above 0"),
        ({"currency": {"code": "KRW", "rates": {"2026-01-01": "x"}}}, "currency.rates.2026-01-01", "above 0"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "IANA"),
        ({"time_zone": "../../etc/passwd"}, "time_zone", "IANA"),
        ({"agents": {"a": "gpt-4o"}}, "agents.a", "provider/model"),
        ({"agents": {"a": "other/x"}}, "agents.a", "openai"),
        ({"models": [{"id": "m", "provider": "other"}]}, "models.0.provider", "openai"),
        ({"models": [{"id": "m", "provider": "openai", "capabilities": ["flight"]}]}, "models.0.capabilities", "chat"),
        ({"models": [{"id": "m", "provider": "openai"}] * 2}, "models.1.id", "once"),
        ({"services": {"s": {"required_capabilities": ["flight"]}}}, "services.s.required_capabilities", "chat"),
        (
            {"models": [{"id": "m", "provider": "openai", "aliases": ["x"]}, {"id": "n", "provider": "openai", "aliases": ["x"]}]},
            "models.1.aliases",
            "once",
        ),
        ({"budgets": [BUDGET, BUDGET]}, "budgets.1.name", "once"),
        ({"budgets": [BUDGET | {"selector": {"servce": "x"}}]}, "budgets.0.selector.servce", "label:<key> (did you mean service?)"),
        ({"budgets": [BUDGET | {"selector": {"team": "x"}}]}, "budgets.0.selector.team", "(did you mean label:team?)"),
        ({"budgets": [BUDGET | {"action": "downgrade"}]}, "budgets.0.downgrade_to", "a model, which goes with action downgrade"),
        ({"budgets": [BUDGET | {"downgrade_to": "m"}]}, "budgets.0.downgrade_to", "no model without action downgrade"),
        ({"budgets": [BUDGET | {"each": "label:"}]}, "budgets.0.each", "label:<key>"),
        ({"retry": {"base_delay_s": 9, "max_delay_s": 8}}, "retry.base_delay_s", "max_delay_s"),
        ({"providers": {"p": {"api_key": "a", "api_key_env": "B"}}}, "providers.p.api_key_env", "one source"),
        ({"providers": {"p": {"api_key": "a", "keys": [{"env": "B"}]}}}, "providers.p.keys", "one source"),
        ({"providers": {"p": {"keys": [{"env": "A"}, {"env": "B", "file": "c"}]}}}, "providers.p.keys.1", "exactly one of env"),
        ({"breaker": {"cool_down_s": 9, "max_cool_down_s": 8}}, "breaker.cool_down_s", "max_cool_down_s"),
    ],
)
def test_settings_that_contradict_each_other_are_found(values, place, allowed):
    """Each rule names the place and what is allowed there."""
    found = wrong(**values)
    assert [item[0] for item in found] == [place]
    assert allowed in found[0][1]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://api.example.com/v1", True),
        ("http://127.0.0.1:8080/v1", True),
        ("http://[::1]:8080", True),
        ("http://localhost:1", True),
        ("http://api.example.com", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://10.0.0.1", False),
        ("https://user:password@api.example.com", False),
        ("https://api.example.com/?key=secret", False),
        ("https://", False),
        ("https://a:99999", False),
        ("ftp://127.0.0.1", False),
        ("api.example.com", False),
    ],
)
def test_addresses_are_https_except_on_loopback(address, allowed):
    """A prompt and a key never travel in the clear, and no credentials stand in an address."""
    found = findings(Settings(providers={"p": {"base_url": address}}))
    assert (found == []) is allowed
    assert not any("secret" in str(item.value) or "password" in str(item.value) for item in found)


def test_a_whole_household_of_settings_holds(tmp_path):
    """Settings as a user would write them pass every rule."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("")
    found = wrong(
        time_zone="Europe/Berlin",
        agents={"claude": "gateway/claude", "chatgpt": "openai/gpt-4o"},
        providers={"gateway": {"base_url": "https://gateway.example.com", "api_key_env": "GATEWAY_KEY"}},
        models=[{"id": "claude", "provider": "gateway", "capabilities": ["chat"], "aliases": ["best"]}],
        budgets=[BUDGET | {"selector": {"service": "aigenflow"}, "each": "label:team"}],
        prices={"file": prices},
    )
    assert found == []


def test_a_broken_rule_points_at_its_line(tmp_path):
    """An error of a rule stands in the same form as an error of a field."""
    path = tmp_path / "aigend.yaml"
    path.write_text("agents:\n  chatgpt: openai/gpt-4o\n  claude: anthropc/claude\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {"HOME": "/x"})
    assert (caught.value.line, caught.value.key) == (3, "agents.claude")
    assert str(caught.value).startswith(f"{path}:3: agents.claude is 'anthropc/claude'; allowed: a provider that is configured")


def test_a_relative_price_file_lies_beside_the_settings(tmp_path: Path):
    """What a settings file names is found from the settings file."""
    (tmp_path / "prices.yaml").write_text("")
    path = tmp_path / "aigend.yaml"
    path.write_text("prices: {file: prices.yaml}\n")
    assert load_settings(path, {"HOME": "/x"}).settings.prices.file == tmp_path / "prices.yaml"
