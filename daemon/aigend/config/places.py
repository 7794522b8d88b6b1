"""Where the daemon keeps its socket and files when the settings do not say: systemd's directories, else XDG's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aigend.config.problems import Problem, SettingsError
from aigend.config.sections import Settings

SOCKET_NAME = "aigend.sock"
SETTINGS_NAME = "aigend.yaml"
FOLDER = "aigen"
SYSTEM_RUNTIME_DIRECTORY = Path("/run/aigend")
ROOT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Absolute paths of what the daemon owns on disk."""

    socket: Path
    state_directory: Path
    cache_directory: Path


def places(settings: Settings, environ: Mapping[str, str], *, user_id: int) -> Places:
    """Return where everything lies.

    A setting wins, then systemd's `$RUNTIME_DIRECTORY`, `$STATE_DIRECTORY` and `$CACHE_DIRECTORY`, then the XDG base directories.
    Without any runtime directory the socket of root is `/run/aigend/aigend.sock`, everybody else's lies in the state directory.

    Raises:
        SettingsError: Nothing says where, not even `$HOME`.
    """
    state = settings.state_directory or _systemd(environ, "STATE_DIRECTORY")
    state = state or _xdg(environ, "XDG_STATE_HOME", ".local/state", key="state_directory") / FOLDER
    cache = settings.cache_directory or _systemd(environ, "CACHE_DIRECTORY")
    cache = cache or _xdg(environ, "XDG_CACHE_HOME", ".cache", key="cache_directory") / FOLDER
    socket = settings.socket or _runtime_directory(environ, state, user_id=user_id) / SOCKET_NAME
    return Places(socket=socket, state_directory=state, cache_directory=cache)


def settings_file(environ: Mapping[str, str]) -> Path | None:
    """Return the settings file to read where none was named: `$AIGEND_CONFIG`, else one that lies in a usual place."""
    if named := environ.get("AIGEND_CONFIG"):
        return Path(named)
    folders = [_systemd(environ, "CONFIGURATION_DIRECTORY")]
    if config_home := _absolute(environ, "XDG_CONFIG_HOME") or _home(environ, ".config"):
        folders.append(config_home / FOLDER)
    return next((folder / SETTINGS_NAME for folder in folders if folder and (folder / SETTINGS_NAME).is_file()), None)


def _runtime_directory(environ: Mapping[str, str], state: Path, *, user_id: int) -> Path:
    if given := _systemd(environ, "RUNTIME_DIRECTORY"):
        return given
    if runtime := _absolute(environ, "XDG_RUNTIME_DIR"):
        return runtime / FOLDER
    return SYSTEM_RUNTIME_DIRECTORY if user_id == ROOT else state


def _systemd(environ: Mapping[str, str], name: str) -> Path | None:
    """The first of the directories that systemd made for the unit (systemd.exec(5) separates several by colons)."""
    first = environ.get(name, "").split(":")[0]
    return Path(first) if first.startswith("/") else None


def _xdg(environ: Mapping[str, str], name: str, under_home: str, *, key: str) -> Path:
    found = _absolute(environ, name) or _home(environ, under_home)
    if found is None:
        raise SettingsError(
            [Problem(text=f"{key} is not set, and neither ${name} nor $HOME says where it is", key=key, allowed="an absolute path")]
        )
    return found


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    """Relative paths are ignored, as the XDG base directory specification demands."""
    value = environ.get(name, "")
    return Path(value) if value.startswith("/") else None


def _home(environ: Mapping[str, str], folder: str) -> Path | None:
    home = _absolute(environ, "HOME")
    return home / folder if home else None
