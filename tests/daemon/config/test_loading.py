"""Settings out of a file and the environment, and what is said about wrong ones."""

import json
from pathlib import Path

import pytest
from aigend.config import LoadedSettings, SettingsError, load_settings

HOME = {"HOME": "/home/nobody", "XDG_RUNTIME_DIR": "/run/user/1"}


@pytest.fixture
def write(tmp_path: Path):
    """Write a settings file and return its path."""

    def _write(text: str, mode: int = 0o600) -> Path:
        path = tmp_path / "aigend.yaml"
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return _write


def load(path: Path | None = None, **variables: str) -> LoadedSettings:
    """Load with a home of nobody's and the given variables."""
    return load_settings(path, HOME | variables)


def refused(path: Path | None = None, **variables: str) -> SettingsError:
    """Load settings that must be refused and return how."""
    with pytest.raises(SettingsError) as caught:
        load(path, **variables)
    assert caught.value.exit_code == 78
    return caught.value


def test_without_file_and_variables_everything_is_default():
    """A daemon starts without any settings at all."""
    loaded = load()
    assert loaded.settings.limits.total == 50
    assert loaded.path is None
    assert set(loaded.origins.values()) == {"default"}


def test_environment_wins_over_file_and_file_over_default(write):
    """Each leaf knows where it comes from."""
    loaded = load(write("limits: {total: 7, queue: 9}\n"), AIGEND_LIMITS__TOTAL="10")
    assert (loaded.settings.limits.total, loaded.settings.limits.queue, loaded.settings.limits.per_provider) == (10, 9, 5)
    origins = [loaded.origins[f"limits.{key}"] for key in ("total", "queue", "per_provider")]
    assert origins == ["environment", "file", "default"]


def test_variables_reach_maps_and_lists():
    """A variable sets one key of a named section, one agent, or a whole list as JSON."""
    loaded = load(
        AIGEND_PROVIDERS__OPENAI__BASE_URL="http://127.0.0.1:8080/v1",
        AIGEND_AGENTS__CHATGPT="openai/gpt-4o",
        AIGEND_BUDGETS='[{"name": "all", "period": "daily", "limit_usd": 1.5}]',
        AIGEND_RETRY='{"max_attempts": 1}',
    )
    assert loaded.settings.providers["openai"].base_url == "http://127.0.0.1:8080/v1"
    assert loaded.settings.agents == {"chatgpt": "openai/gpt-4o"}
    assert loaded.settings.budgets[0].limit_usd == "1.5"
    assert loaded.settings.retry.max_attempts == 1
    assert loaded.origins["budgets"] == loaded.origins["retry.max_attempts"] == "environment"
    assert loaded.origins["retry.max_delay_s"] == "default"


def test_durations_sizes_and_money_as_people_write_them(write):
    """Units and plain numbers say the same."""
    text = "cache: {ttl_s: 24h, max_size_bytes: 500MB}\ndrain: {provider_timeout_s: 250ms}\n"
    settings = load(write(text), AIGEND_LIMITS__ANSWER_BYTES="1.5 KiB").settings
    assert (settings.cache.ttl_s, settings.cache.max_size_bytes) == (86_400.0, 500_000_000)
    assert (settings.drain.provider_timeout_s, settings.limits.answer_bytes) == (0.25, 1536)


def test_a_typo_names_line_and_nearest_key(write):
    """The error of a misspelt key says file, line, key and what was most likely meant."""
    path = write("cache:\n  ttl_s: 60\nlimits:\n  totl: 5\n")
    error = refused(path)
    assert (error.file, error.line, error.key, error.allowed) == (path, 4, "limits.totl", "limits.total")
    assert str(error) == f"{path}:4: limits.totl is no setting; did you mean limits.total?"


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("ttl_s: 5\n", 1, "cache.ttl_s"),
        ("providers:\n  openai:\n    base_ur: https://x.example\n", 3, "providers.openai.base_url"),
        ("budgets:\n  - name: a\n    period: daily\n    limit_usd: 1\n    acton: warn\n", 5, "budgets.0.action"),
        ("zzzzzz: 1\n", 1, "aigend config default"),
    ],
)
def test_a_key_that_is_no_setting_is_refused_wherever_it_stands(write, text, line, hint):
    """Unknown keys of every section are found, with the nearest one or the way to all of them."""
    error = refused(write(text))
    assert error.line == line
    assert hint in str(error)


@pytest.mark.parametrize(
    ("text", "line", "key", "allowed"),
    [
        ("limits: {total: 0}\n", 1, "limits.total", "a whole number from 1 to 100_000"),
        ("limits:\n  total: yes\n", 2, "limits.total", "a number, not yes or no"),
        ("cache:\n  ttl_s: .nan\n", 2, "cache.ttl_s", "a number above 0 to 315_576_000 seconds"),
        ("cache:\n  ttl_s: -1\n", 2, "cache.ttl_s", "a number above 0 to 315_576_000 seconds"),
        ("cache:\n  ttl_s: 1e300\n", 2, "cache.ttl_s", "a number above 0 to 315_576_000 seconds"),
        ("cache:\n  ttl_s: 5 parsecs\n", 2, "cache.ttl_s", "with ms, s, min, h or d"),
        ("cache:\n  max_size_bytes: 5 pounds\n", 2, "cache.max_size_bytes", "MB"),
        ("cache:\n  max_size_bytes: 5\n", 2, "cache.max_size_bytes", "from 1_048_576 to"),
        ("log:\n\n  level: loud\n", 3, "log.level", "'debug', 'info'"),
        ("budgets:\n  - name: a b\n    period: daily\n    limit_usd: 1\n", 2, "budgets.0.name", "1 to 64 letters, digits"),
        ("budgets:\n  - name: a\n    period: daily\n", 2, "budgets.0.limit_usd", "a value"),
        ("budgets:\n  - {name: a, period: daily, limit_usd: -1}\n", 2, "budgets.0.limit_usd", "0 to 999_999_999 US dollars"),
        ("limits: 5\n", 1, "limits", "keys with their values"),
        ("time_zone: null\n", 1, "time_zone", "text"),
    ],
)
def test_a_value_out_of_bounds_names_key_value_and_what_is_allowed(write, text, line, key, allowed):
    """A value that a field refuses is shown with its line and its bounds."""
    error = refused(write(text))
    assert (error.line, error.key) == (line, key)
    assert allowed in error.allowed


def test_all_problems_are_named_at_once(write):
    """Nobody mends settings one error at a time."""
    error = refused(write("limits:\n  total: 0\n  queue: -1\nfoo: 1\n"))
    assert [problem.line for problem in error.problems] == [2, 3, 4]
    assert len(str(error).splitlines()) == 3


def test_an_unknown_variable_is_refused_with_the_nearest_one():
    """A misspelt variable would otherwise be ignored in silence."""
    error = refused(AIGEND_LIMITS__TOTL="10")
    assert str(error) == "AIGEND_LIMITS__TOTL: there is no such setting; did you mean AIGEND_LIMITS__TOTAL?"
    assert "AIGEND_CONFIG?" in str(refused(AIGEND_CONFG="x"))
    assert "AIGEND_PROVIDERS__OPENAI__BASE_URL?" in str(refused(AIGEND_PROVIDERS__OPENAI__BASEURL="x"))
    assert "aigend config default" in str(refused(AIGEND_QQQQQQ="x"))
    assert "no such setting" in str(refused(AIGEND_LIMITS____TOTAL="1"))


def test_variables_of_tests_and_failpoints_are_no_settings():
    """The variables that others read are let through."""
    assert load(AIGEND_TEST="1", AIGEND_FAILPOINT="after_intent:kill").settings.limits.total == 50


def test_a_wrong_value_in_a_variable_names_the_variable():
    """The error points at the variable, not at a file."""
    error = refused(AIGEND_LIMITS__TOTAL="many")
    assert error.variable == "AIGEND_LIMITS__TOTAL"
    assert error.file is None
    assert "limits.total is 'many'" in str(error)
    assert refused(AIGEND_BUDGETS='[{"name": "a"}]').variable == "AIGEND_BUDGETS"


@pytest.mark.parametrize("name", ["AIGEND_BUDGETS", "AIGEND_AGENTS", "AIGEND_LIMITS"])
def test_a_map_or_list_in_a_variable_must_be_json(name):
    """What is no JSON is refused by the variable's name."""
    error = refused(**{name: "[1,"})
    assert error.variable == name
    assert "JSON" in error.allowed


def test_a_whole_section_that_is_no_json_object_is_refused():
    """JSON of the wrong kind is an error of the setting."""
    assert refused(AIGEND_LIMITS="[1]").key == "limits"
    assert "AIGEND_PROVIDERS" in str(refused(AIGEND_PROVIDERS__OPENAI="nothing"))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("limits:\n  total: 5\n\ttotal: 6\n", 3, "not a settings file"),
        ("limits: {total: 5\n", 2, "not a settings file"),
        ("limits:\n  total: 5\n  total: 6\n", 3, "limits.total stands here and in line 2"),
        ("- a\n", 1, "must be a mapping"),
        ("limits:\n  1: 5\n", 2, "key 1 under limits is no text"),
        ("? [a]\n: 5\n", 1, "is no text"),
        ("a: &a {x: 1}\nb: *a\n", 1, "alias"),
        ("a: &a\n  b: *a\n", 1, "alias"),
        ("a: !!python/object:os.system x\n", 1, "not a settings file"),
        ("a: 1\n---\nb: 2\n", 2, "not a settings file"),
        ("a: 1\nb: \x07\n", 2, "character that YAML does not allow"),
        ("a: 1\ntime_zone: 2026-99-99\n", 2, "text in quotes"),
        ("[" * 1_000, None, "nested too deeply"),
    ],
)
def test_what_is_no_settings_file_says_so_with_its_line(write, text, line, said):
    """Malformed YAML, keys given twice and aliases are refused, never half read."""
    error = refused(write(text))
    assert said in str(error)
    assert error.line == line


def test_files_that_cannot_be_read_are_named(tmp_path):
    """A missing file, a directory, foreign bytes and an enormous file each say what is wrong."""
    assert "No such file" in str(refused(tmp_path / "none.yaml"))
    assert "directory" in str(refused(tmp_path))
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    assert refused(path).line == 2
    path.write_bytes(b"#" * 1_048_577)
    assert "at most 1048576" in str(refused(path))


@pytest.mark.parametrize("text", ["", "# nothing\n", "limits:\nbudgets:\nagents:\n"])
def test_an_empty_file_or_section_says_nothing(write, text):
    """A section whose keys are all commented out is the section's default."""
    loaded = load(write(text))
    assert loaded.settings.limits.total == 50
    assert set(loaded.origins.values()) == {"default"}


def test_a_byte_order_mark_is_no_error(write):
    """Editors that write one are understood."""
    assert load(write("\ufefflimits: {total: 3}\n")).settings.limits.total == 3


def test_the_file_is_found_by_variable_and_in_usual_places(tmp_path, write):
    """`AIGEND_CONFIG` names a file that must exist; systemd's and the XDG directory are looked into."""
    path = write("limits: {total: 3}\n")
    assert load(AIGEND_CONFIG=str(path)).path == path
    assert load(CONFIGURATION_DIRECTORY=f"{tmp_path}:/else").path == path
    (tmp_path / "aigen").mkdir()
    moved = path.rename(tmp_path / "aigen" / "aigend.yaml")
    assert load(XDG_CONFIG_HOME=str(tmp_path)).path == moved
    assert "No such file" in str(refused(AIGEND_CONFIG=str(path)))


def test_flattened_settings_hide_secrets_and_show_paths_in_force(write):
    """GetSettings sees every leaf once, sorted, JSON, and no key of a provider."""
    path = write("providers: {openai: {api_key: planted-secret}}\n")
    flat = {setting.key: setting for setting in load(path, AIGEND_LIMITS__TOTAL="8").flatten()}
    assert list(flat) == sorted(flat)
    assert flat["providers.openai.api_key"].value_json == '"***"'
    assert json.loads(flat["socket"].value_json) == "/run/user/1/aigen/aigend.sock"
    assert (flat["limits.total"].value_json, flat["limits.total"].origin) == ("8", "environment")
    assert flat["budgets"].value_json == "[]"
    assert flat["cache.ttl_s"].value_json == "86400.0"
    assert flat["providers.openai.timeout_s"].origin == "default"
    assert "planted-secret" not in repr(load(path)) + repr(load(path).sources) + repr(flat)


def test_settings_can_not_be_changed():
    """A snapshot stays what it was."""
    with pytest.raises(ValueError, match="frozen"):
        load().settings.limits.total = 3


@pytest.mark.parametrize("written", ["300", "'300'", "5min", "300.0"])
def test_lifetimes_of_prompt_caches_may_carry_a_unit(write, written: str):
    """Two lifetimes exist, however they are spelled, in the file, for a service and in a variable."""
    loaded = load(write(f"prompt_caching: {{ttl_s: {written}}}\nservices: {{a: {{prompt_caching: {{ttl_s: 1h}}}}}}\n"))
    own = loaded.settings.services["a"].prompt_caching
    assert (loaded.settings.prompt_caching.ttl_s, own.ttl_s, own.enabled, own.decision) == (300, 3_600, None, None)
    assert load(AIGEND_PROMPT_CACHING__TTL_S="3600").settings.prompt_caching.ttl_s == 3_600


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("prompt_caching: {ttl_s: 60}", "prompt_caching.ttl_s", "300 or 3600"),
        ("prompt_caching: {ttl_s: yes}", "prompt_caching.ttl_s", "a number, not yes or no"),
        ("services: {a: {prompt_caching: {ttl_s: 10min}}}", "services.a.prompt_caching.ttl_s", "300 or 3600"),
        ("prompt_caching: {decision: often}", "prompt_caching.decision", "'never', 'always', 'second_sight' or 'adaptive'"),
    ],
)
def test_bad_prompt_caching_is_refused_by_name(write, text: str, key: str, allowed: str):
    """The error names the key, its value and what is allowed."""
    (problem,) = refused(write(text + "\n")).problems
    assert (problem.key, problem.allowed, problem.line) == (key, allowed, 1)
