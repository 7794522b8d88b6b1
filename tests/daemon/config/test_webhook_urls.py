"""Webhooks' addresses are secrets with one source each."""

import pytest
from aigend.config import SettingsError, load_settings


def written(tmp_path, text: str, mode: int = 0o600):
    """Return a settings file with one webhook."""
    path = tmp_path / "aigend.yaml"
    path.write_text(f"alerts: {{webhooks: {{team: {{kind: slack, {text}}}}}}}\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", ["url: https://hooks/a", "url_file: hook", "url_env: HOOK"])
def test_address_is_found_and_never_shown(tmp_path, text):
    """It comes from the settings, a file or a variable, and shows itself as ***."""
    hook = tmp_path / "hook"
    hook.write_text("https://hooks/a\n")
    hook.chmod(0o600)
    loaded = load_settings(written(tmp_path, text), {"HOOK": "https://hooks/a", "HOME": str(tmp_path)})
    webhook = loaded.settings.alerts.webhooks["team"]
    assert webhook.url is not None
    assert webhook.url.get_secret_value() == "https://hooks/a"
    assert "https://hooks/a" not in repr(loaded) + str([(s.key, s.value_json) for s in loaded.flatten()])


def test_variable_that_is_not_set_leaves_it_without_address_and_is_warned_of(tmp_path):
    """The daemon starts, posts nothing there, and the warning names place, setting and variable."""
    path = written(tmp_path, "url_env: HOOK")
    loaded = load_settings(path, {"HOME": str(tmp_path)})
    assert loaded.settings.alerts.webhooks["team"].url is None
    assert [str(warning) for warning in loaded.warnings] == [
        f"{path}:1: alerts.webhooks.team.url_env names the variable HOOK, which is not set here: webhook team has no address, "
        "and no alert is posted there"
    ]


def test_address_written_in_place_of_its_variable_is_not_shown(tmp_path):
    """Whoever writes the address where the variable's name belongs is warned, without it."""
    loaded = load_settings(written(tmp_path, "url_env: 'https://hooks/a'"), {"HOME": str(tmp_path)})
    (warning,) = loaded.warnings
    assert "names the variable ***" in str(warning)
    assert "hooks/a" not in str(warning)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("url: https://hooks/a", 0o644, "mode 0600"),
        ("url: http://hooks/a", 0o600, "an https address"),
        ("url: 'https://u:p@hooks/a'", 0o600, "an https address"),
        ("url: 'https://[bad'", 0o600, "an https address"),
        ("url_file: missing", 0o600, "a file that can be read"),
        ("url: https://hooks/a, url_env: HOOK", 0o600, "exactly one of url, url_file, url_env"),
    ],
)
def test_unusable_address_is_refused_without_showing_it(tmp_path, text, mode, said):
    """The refusal names the webhook and what is allowed."""
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text, mode), {"HOOK": "https://hooks/b"})
    assert "alerts.webhooks.team" in str(caught.value)
    assert said in str(caught.value)
    assert "hooks/a" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("action: downgrade", r"aigend\.yaml:1: budgets\.0\.downgrade_to is not set; allowed: a model"),
        ("action: refuse, downgrade_to: gpt-4o", r"aigend\.yaml:1: budgets\.0\.downgrade_to is 'gpt-4o'; allowed: no model"),
    ],
)
def test_downgrade_and_its_model_go_together(tmp_path, text, said):
    """One without the other is refused, where it stands."""
    path = tmp_path / "aigend.yaml"
    path.write_text(f"budgets: [{{name: team, period: daily, limit_usd: 1, {text}}}]\n")
    with pytest.raises(SettingsError, match=said):
        load_settings(path, {})
