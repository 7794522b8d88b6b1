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
