"""`AIGEND_*` variables as settings: `AIGEND_LIMITS__TOTAL=10` is `limits.total`.

Maps and lists as a whole are JSON. A variable that is no setting is refused, because a misspelt one would be ignored in silence.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from aigend.config.keys import VARIABLE_DELIMITER, VARIABLE_PREFIX, Kind, find_key, known_beside
from aigend.config.problems import Problem, SettingsError, nearest
from aigend.config.sections import Settings

OTHER_VARIABLES = ("AIGEND_CONFIG", "AIGEND_FAILPOINT", "AIGEND_TEST")  # read elsewhere, no settings


class _Readable(Settings, BaseSettings):
    """The settings in the form that pydantic-settings reads from; never made."""

    model_config = SettingsConfigDict(extra="forbid")


class _Source(EnvSettingsSource):
    """The settings in a given environment instead of this process's own."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(_Readable, case_sensitive=False, env_prefix=VARIABLE_PREFIX, env_nested_delimiter=VARIABLE_DELIMITER)
        self.env_vars = {name.lower(): value for name, value in variables.items()}


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what the variables set, nested as in a settings file.

    Raises:
        SettingsError: A variable is no setting, or a map or list is no JSON.
    """
    variables = {name: value for name, value in environ.items() if name.startswith(VARIABLE_PREFIX) and name not in OTHER_VARIABLES}
    if problems := [problem for name, value in sorted(variables.items()) if (problem := _problem(name, value))]:
        raise SettingsError(problems)
    try:
        return _Source(variables)() if variables else {}
    except UnreadableVariable as error:
        raise SettingsError([Problem(text=f"{VARIABLE_PREFIX}*: {error}")]) from error


def variable_name(path: tuple[str | int, ...]) -> str:
    """Return the variable that sets a place.

    Example:
        >>> variable_name(("limits", "total"))
        'AIGEND_LIMITS__TOTAL'
    """
    return VARIABLE_PREFIX + VARIABLE_DELIMITER.join(str(part) for part in path).upper()


def variable_path(name: str) -> tuple[str, ...]:
    """Return the place that a variable sets.

    Example:
        >>> variable_path("AIGEND_LIMITS__TOTAL")
        ('limits', 'total')
    """
    return tuple(name.removeprefix(VARIABLE_PREFIX).lower().split(VARIABLE_DELIMITER))


def _problem(name: str, value: str) -> Problem | None:
    path = variable_path(name)
    key = find_key(path)
    if key is None or not all(path):
        near = _nearest_variable(path)
        hint = f"; did you mean {near}?" if near else "; `aigend config default` lists all settings with their variables"
        return Problem(text=f"there is no such setting{hint}", key=".".join(path), variable=name, allowed=near)
    whole = key.kind is not Kind.VALUE and len(path) == len(key.path)
    if whole and not _is_json(value):
        allowed = "a JSON list" if key.kind is Kind.SECTION_LIST else "JSON"
        return Problem(text=f"{key.dotted} is no valid JSON; allowed: {allowed}", key=key.dotted, variable=name, allowed=allowed)
    return None


def _nearest_variable(path: tuple[str, ...]) -> str:
    others = {name.removeprefix(VARIABLE_PREFIX).lower(): name for name in OTHER_VARIABLES}
    near = nearest(".".join(path), [*known_beside(path), *others])
    return others.get(near) or (variable_name(tuple(near.split("."))) if near else "")


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True
