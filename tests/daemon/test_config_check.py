"""`aigend config check`: where what can't be used stands, and what is most likely not meant so."""

from pathlib import Path

import pytest
from aigend.config import SettingsError, load_settings
from aigend.config_check import check

from tests.fakes import FakeClock

NOW = 1_795_000_000.0  # in November 2026


def _check(folder: Path, text: str, **environ: str) -> list[str]:
    path = folder / "aigend.yaml"
    path.write_text(text, encoding="utf-8")
    environ = {"HOME": str(folder), "OPENAI_API_KEY": "made-up"} | environ
    return [str(warning) for warning in check(load_settings(path, environ), environ, clock=FakeClock(NOW))]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("limits: {total: 3}\ndefault_model: gpt4oo\n", 2, "default_model 'gpt4oo' is not in the catalog (did you mean"),
        (
            "services:\n  my.plans:\n    default_model: gpt4oo\n",
            3,
            "services.my.plans.default_model 'gpt4oo' is not in the catalog",
        ),
        (
            "services:\n  plans:\n    allowed_tiers: [mini]\n    default_model: gpt-4o\n",
            4,
            "services.plans.default_model is 'gpt-4o'; allowed: ",
        ),
        ("agents:\n  claude: 'openai/a b'\n", 2, "agents.claude is 'openai/a b'; allowed: "),
        ("models:\n  - {id: m, provider: openai}\n  - {id: n, provider: openai, aliases: [m]}\n", 3, "models.1.aliases is 'm'"),
        (
            "budgets:\n  - {name: a, period: daily, limit_usd: 1, action: downgrade, downgrade_to: gpt4oo}\n",
            2,
            "budgets.0.downgrade_to 'gpt4oo' is not in the catalog",
        ),
    ],
)
def test_what_only_the_catalog_refuses_has_its_line_too(tmp_path, text, line, says):
    """A value that models and policies refuse is told with file and line, as what the settings alone refuse."""
    with pytest.raises(SettingsError) as caught:
        _check(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/aigend.yaml:{line}: {says}")


def test_what_a_variable_says_is_told_by_its_name(tmp_path):
    """A model out of a variable is refused by the variable's name, and no line is made up for it."""
    with pytest.raises(SettingsError, match=r"^AIGEND_DEFAULT_MODEL: default_model 'gpt4oo'"):
        _check(tmp_path, "limits: {total: 3}\n", AIGEND_DEFAULT_MODEL="gpt4oo")


def test_price_file_is_looked_at_with_the_settings(tmp_path):
    """Names that nothing has and rates that are left out are told, beside what the settings themselves make one doubt."""
    (tmp_path / "prices.yaml").write_text(
        "version: 1\ncurrency: USD\nproviders:\n  opnai: {gpt-4o: {input: 1}}\n  openai:\n    gpt-4oo: {input: 1, output: 2}\n"
        "    gpt-4o: {input: 1}\n    gpt-4: {input: 1, output: 2}\n  aws: {x: {input: 1}}\n  azure: {y: {input: 1}}\n"
    )
    settings = "prices: {file: prices.yaml}\nproviders:\n  bedrock: {base_url: 'https://a.example', price_provider: aws}\n"
    said = _check(tmp_path, settings)
    assert [line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in said] == [
        "prices.yaml:4",
        "prices.yaml:6",
        "prices.yaml:7",
        "prices.yaml:10",
    ]
    assert "did you mean openai?" in said[0]
    assert "did you mean gpt-4o?" in said[1]
    assert "lacks output, cache_read, which genai-prices" in said[2]


def test_check_of_prices_that_is_still_to_come_is_refused(tmp_path):
    """A day of a check that has not come is refused with file and line."""
    (tmp_path / "prices.yaml").write_text("version: 1\ncurrency: USD\nchecked_on: 2027-03-01\n")
    with pytest.raises(SettingsError, match=r"^prices\.yaml:3: checked_on is '2027-03-01'; allowed: a day that has come"):
        _check(tmp_path, "prices: {file: prices.yaml}\n")


@pytest.mark.parametrize("source", ["api_key_env: OPENAI_API_KEY", "keys: [{env: OPENAI_API_KEY}]"])
def test_address_that_is_not_used_is_told(tmp_path, source):
    """A usual address beside settings that say where the key comes from is named with the setting; calls would go elsewhere."""
    said = _check(tmp_path, f"providers:\n  openai:\n    {source}\n", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert len(said) == 1
    assert said[0].startswith(
        f"{tmp_path}/aigend.yaml:3: providers.openai.{source.partition(':')[0]} says where the key comes from"
    )
    assert "OPENAI_BASE_URL" in said[0]
    assert "providers.openai.base_url" in said[0]


def test_address_that_is_used_or_replaced_is_not_told(tmp_path):
    """Without a key of the settings the variable is used, beside an address of theirs it was replaced on purpose."""
    address = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert _check(tmp_path, "providers: {openai: {timeout_s: 5}}\n", **address) == []
    own = "providers: {openai: {api_key_env: OPENAI_API_KEY, base_url: 'https://a.example/v1'}}\n"
    assert _check(tmp_path, own, **address) == []
    assert _check(tmp_path, "providers: {openai: {api_key_env: OPENAI_API_KEY}}\n") == []
    assert _check(tmp_path, "limits: {total: 3}\n", **address) == []
