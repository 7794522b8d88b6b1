"""Whatever is wrong with a setting is said in words of ours: its value, and what is allowed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aigend.config import SettingsError, load_settings
from aigend.config.keys import ANY_NAME, Key, Kind, find_key, keys

HOME = {"HOME": "/home/nobody"}
WRONG = (-1, 10**30, 1.5, float("nan"), "x y!", "", True, None, [], {}, [3], {"a": 3}, {"a b": "c"}, ["x"] * 65)
LEAKS = re.compile(
    r"Input|pattern|\^|\\|valid (string|integer|number|tuple|dictionary|boolean)|[Ss]tring|[Tt]uple|dictionary|parse|pydantic"
)


def settings_with(key: Key, value: object) -> dict[str, Any]:
    """Return settings in which one key, of an entry named x where names are open, holds a value."""
    whole: Any = value
    for depth in range(len(key.path), 0, -1):
        name = key.path[depth - 1]
        whole = {"x" if name == ANY_NAME else name: whole}
        outer = find_key(key.path[: depth - 1])
        if outer is not None and outer.kind is Kind.SECTION_LIST:
            whole = [whole]
    return dict(whole)


def refusals(path: Path, settings: dict[str, Any]) -> Iterator[str]:
    """Yield what is said of settings."""
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    path.chmod(0o600)
    try:
        load_settings(path, HOME)
    except SettingsError as error:
        yield from (problem.text for problem in error.problems)


@pytest.mark.parametrize("key", list(keys()), ids=lambda key: key.dotted)
def test_no_setting_shows_how_it_is_checked(tmp_path: Path, key: Key):
    """Of every setting, a wrong value is refused in words: no regular expression, no phrase of the library that checks."""
    said = [text for value in WRONG for text in refusals(tmp_path / "aigend.yaml", settings_with(key, value))]
    assert said
    assert [text for text in said if LEAKS.search(text)] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"budgets": [{"name": "a", "period": "daily", "limit_usd": -1}]},
            "budgets.0.limit_usd is -1; allowed: 0 to 999_999_999 US dollars, with at most 9 decimals",
        ),
        (
            {"budgets": [{"name": "a", "period": "daily", "limit_usd": "ten"}]},
            "budgets.0.limit_usd is 'ten'; allowed: 0 to 999_999_999 US dollars, with at most 9 decimals",
        ),
        ({"retry": {"max_attempts": 99}}, "retry.max_attempts is 99; allowed: a whole number from 1 to 10"),
        ({"services": {"a": {"ttl_s": 0}}}, "services.a.ttl_s is 0; allowed: a number above 0 to 315_576_000 seconds"),
        ({"providers": {"a b": {}}}, "providers.a b is 'a b'; allowed: 1 to 64 letters, digits, '.', '_' or '-'"),
        ({"features": {"cache": 3}}, "features.cache is 3; allowed: true or false"),
        ({"models": {"id": "a"}}, "models is {'id': 'a'}; allowed: a list"),
        ({"models": [{"id": "", "provider": "openai"}]}, "models.0.id is ''; allowed: text that is not empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_names_both_ends(tmp_path: Path, settings: dict[str, Any], said: str):
    """The value and the whole of what is allowed are named."""
    assert list(refusals(tmp_path / "aigend.yaml", settings)) == [said]
