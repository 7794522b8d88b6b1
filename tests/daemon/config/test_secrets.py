"""Where providers' keys come from, and that nobody else may read them."""

from pathlib import Path

import pytest
from aigend.config import SettingsError, load_settings
from pydantic import SecretStr

KEY = "planted-key-0123456789"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Return a file of mode 0600 that holds a key."""
    path = tmp_path / "openai.key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


def key_of(path: Path | None, **variables: str) -> str | None:
    """Return the key that provider openai ends up with."""
    key = load_settings(path, {"HOME": "/x"} | variables).settings.providers["openai"].api_key
    assert repr(key) in ("None", "SecretStr('**********')")
    return key.get_secret_value() if key else None


def settings(tmp_path: Path, provider: str, mode: int = 0o600) -> Path:
    """Write settings with one provider."""
    path = tmp_path / "aigend.yaml"
    path.write_text(f"providers:\n  openai: {provider}\n")
    path.chmod(mode)
    return path


def test_a_key_comes_from_file_variable_credential_or_settings(tmp_path, key_file):
    """Each source gives the same key."""
    assert key_of(settings(tmp_path, f"{{api_key_file: {key_file}}}")) == KEY
    assert key_of(settings(tmp_path, "{api_key_file: openai.key}")) == KEY
    assert key_of(settings(tmp_path, "{api_key_env: SOME_KEY}"), SOME_KEY=KEY) == KEY
    assert key_of(settings(tmp_path, f"{{api_key: {KEY}}}")) == KEY
    assert key_of(None, AIGEND_PROVIDERS__OPENAI__API_KEY=KEY) == KEY


def test_credentials_of_the_service_manager_are_found_by_name_or_file(tmp_path, key_file):
    """The service manager guards that directory itself, so the files' mode says nothing."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    handed = key_file.rename(credentials / "openai_api_key")
    handed.chmod(0o440)
    place = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert key_of(settings(tmp_path, "{}"), **place) == KEY
    assert key_of(settings(tmp_path, "{api_key_file: openai_api_key}"), **place) == KEY


def test_a_missing_variable_leaves_the_key_empty(tmp_path):
    """Cached answers are served without a key; a call to the provider then says what is missing."""
    assert key_of(settings(tmp_path, "{api_key_env: NOT_SET}")) is None
    assert key_of(settings(tmp_path, "{}"), CREDENTIALS_DIRECTORY=str(tmp_path)) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_may_read_is_refused(tmp_path, key_file, mode):
    """The error names the setting, the file and the mode, never the key."""
    key_file.chmod(mode)
    with pytest.raises(SettingsError) as caught:
        key_of(settings(tmp_path, f"{{api_key_file: {key_file}}}"))
    assert caught.value.key == "providers.openai.api_key_file"
    assert f"mode {mode:04o}" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"two words", b"a\nb\n", "schlüssel".encode(), b"x" * 65_537])
def test_a_file_without_exactly_one_key_is_refused(tmp_path, key_file, content):
    """What can be no key is said at the start, not by a provider's 401."""
    key_file.write_bytes(content)
    with pytest.raises(SettingsError, match="one key on one line"):
        key_of(settings(tmp_path, f"{{api_key_file: {key_file}}}"))


def test_a_key_file_that_is_missing_is_named(tmp_path):
    """The error names the file and why it can't be read."""
    with pytest.raises(SettingsError, match=r"none\.key.*No such file"):
        key_of(settings(tmp_path, "{api_key_file: none.key}"))


def test_a_key_written_into_open_settings_is_refused(tmp_path):
    """A settings file that others may read must hold no key."""
    path = settings(tmp_path, f"{{api_key: {KEY}}}", mode=0o644)
    with pytest.raises(SettingsError, match="mode 0600") as caught:
        key_of(path)
    assert KEY not in str(caught.value)
    assert caught.value.line == 2
    assert key_of(settings(tmp_path, "{}", mode=0o644), AIGEND_PROVIDERS__OPENAI__API_KEY=KEY) == KEY


def test_a_key_of_the_wrong_kind_is_not_shown(tmp_path):
    """Even a refused secret stays hidden."""
    with pytest.raises(SettingsError) as caught:
        key_of(settings(tmp_path, f"{{api_key: [{KEY}], api_kye: {KEY}}}"))
    assert KEY not in str(caught.value)
    assert len(caught.value.problems) == 2


def test_a_secret_shows_itself_as_stars():
    """The type that carries keys hides them in every spelling."""
    assert KEY not in f"{SecretStr(KEY)!r} {SecretStr(KEY)}"


def keys_of(path: Path, **variables: str) -> list[tuple[int, str]]:
    """Return the keys that provider openai ends up with."""
    loaded = load_settings(path, {"HOME": "/x", "PATH": "/usr/bin:/bin"} | variables)
    assert KEY not in repr(loaded)
    assert not any(KEY in setting.value_json for setting in loaded.flatten())
    return [(number, key.get_secret_value()) for number, key in loaded.settings.providers["openai"].numbered_keys]


def test_several_keys_come_from_anywhere(tmp_path, key_file):
    """Each kind of source gives its key, in the order of the settings."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "handed").write_text(f"{KEY}-3\n")
    path = settings(
        tmp_path,
        f"{{keys: [{{env: SOME_KEY}}, {{file: openai.key}}, {{credential: handed}}, "
        f"{{command: [sh, -c, 'echo $SOME_KEY-4']}}, {{value: {KEY}-5}}]}}",
    )
    found = keys_of(path, SOME_KEY=f"{KEY}-1", CREDENTIALS_DIRECTORY=str(credentials))
    assert found == [(1, f"{KEY}-1"), (2, KEY), (3, f"{KEY}-3"), (4, f"{KEY}-1-4"), (5, f"{KEY}-5")]


def test_a_key_whose_variable_is_missing_is_left_out(tmp_path):
    """The others keep their numbers, and the daemon starts."""
    path = settings(tmp_path, "{keys: [{env: NOT_SET}, {env: SOME_KEY}]}")
    assert keys_of(path, SOME_KEY=KEY) == [(2, KEY)]
    assert keys_of(path) == []


@pytest.mark.parametrize(
    ("source", "place", "told"),
    [
        ("{file: none.key}", "file", "No such file"),
        ("{credential: gone}", "credential", "CREDENTIALS_DIRECTORY is not set"),
        ("{command: [sh, -c, 'exit 3']}", "command", "'sh'; allowed: a command .* ended with status 3"),
        ("{command: [no-such-program-1]}", "command", "can't be run: No such file"),
        ("{command: ['printf', 'two words']}", "command", "one key on one line"),
        ("{command: ['true']}", "command", "one key on one line"),
    ],
)
def test_a_key_that_can_not_be_read_is_named_by_its_place(tmp_path, source, place, told):
    """The error names the key's position, its source and what is allowed."""
    with pytest.raises(SettingsError, match=told) as caught:
        keys_of(settings(tmp_path, f"{{keys: [{{value: {KEY}}}, {source}]}}"))
    assert caught.value.key == f"providers.openai.keys.1.{place}"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        f"[{KEY}]",
        f"[{{valeu: {KEY}}}]",
        f"[{{value: [{KEY}]}}]",
        f"{KEY}",
        f"[{{value: {KEY}, env: X}}]",
        "[{}]",
        "[{command: []}]",
        "[{env: ''}]",
        f"[{{credential: ../{KEY}}}]",
    ],
)
def test_a_wrong_list_of_keys_is_refused_and_not_shown(tmp_path, keys):
    """Whatever stands there by mistake may be a key."""
    with pytest.raises(SettingsError) as caught:
        keys_of(settings(tmp_path, f"{{keys: {keys}}}"))
    assert caught.value.key.startswith("providers.openai.keys")
    assert caught.value.line == 2
    assert KEY not in str(caught.value)


def test_one_key_and_several_at_once_are_refused(tmp_path):
    """Either one source or a list."""
    with pytest.raises(SettingsError, match="one source of the key; api_key_env is set as well"):
        keys_of(settings(tmp_path, "{api_key_env: A, keys: [{env: B}]}"))


def test_a_key_in_the_list_of_open_settings_is_refused(tmp_path):
    """A key written into a list needs a file of mode 0600 as well; other sources do not."""
    with pytest.raises(SettingsError, match="mode 0600") as caught:
        keys_of(settings(tmp_path, f"{{keys: [{{env: A}}, {{value: {KEY}}}]}}", mode=0o644))
    assert (caught.value.key, caught.value.line) == ("providers.openai.keys.1", 2)
    assert keys_of(settings(tmp_path, "{keys: [{env: A}]}", mode=0o644), A=KEY) == [(1, KEY)]


def test_several_keys_may_come_from_a_variable(tmp_path):
    """The list as a whole is JSON in a variable, as every list."""
    path = settings(tmp_path, "{}")
    assert keys_of(path, AIGEND_PROVIDERS__OPENAI__KEYS='[{"env": "A"}]', A=KEY) == [(1, KEY)]
