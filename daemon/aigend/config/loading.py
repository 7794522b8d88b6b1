"""Settings from a file and the environment: the environment wins, and every error says where the value stands."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aigend.config.environment import read_environment, variable_name
from aigend.config.keys import Kind, find_key, known_beside, leaves
from aigend.config.places import Places, places, settings_file
from aigend.config.problems import Problem, SettingsError, nearest, shown
from aigend.config.rules import HIDDEN, Finding, findings
from aigend.config.secrets import open_settings_file, unset_variables, with_keys
from aigend.config.sections import Settings
from aigend.config.webhook_urls import open_to_others, unset_webhooks, with_webhook_urls
from aigend.config.well_known import ignored_addresses
from aigend.config.wording import allowed_words
from aigend.config.yaml_file import KeyPath, YamlFile, read_yaml

Origin = Literal["default", "file", "environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatSetting:
    """One leaf: its dotted key, its value as JSON with secrets hidden, and where it comes from."""

    key: str
    value_json: str
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """The settings in force and where each came from; keys of providers are filled in."""

    settings: Settings
    origins: Mapping[str, Origin]  # by dotted key
    path: Path | None
    places: Places
    warnings: tuple[Problem, ...] = ()  # what can be used as it is, and is most likely not meant so
    sources: "_Sources | None" = field(default=None, repr=False, compare=False)  # where each value stands

    def placed(self, error: SettingsError) -> SettingsError:
        """Return what was refused once models, prices and policies were known, with the place of each value that has none yet."""
        if self.sources is None or all(problem.file or problem.variable for problem in error.problems):
            return error
        return SettingsError(map(self.sources.located, error.problems))

    def flatten(self) -> list[FlatSetting]:
        """Return every leaf, sorted by key; paths are those in force."""
        values = self.settings.model_dump(mode="json") | {
            "socket": str(self.places.socket),
            "state_directory": str(self.places.state_directory),
            "cache_directory": str(self.places.cache_directory),
        }
        flat = [
            FlatSetting(
                key=".".join(path), value_json=json.dumps(_hidden(path, value)), origin=self.origins.get(".".join(path), "default")
            )
            for path, value in leaves(values)
        ]
        return sorted(flat, key=lambda setting: setting.key)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> LoadedSettings:
    """Return the settings that a file and `AIGEND_*` variables make together.

    Args:
        path: Settings file; None reads `$AIGEND_CONFIG` or the one in a usual place, and does without where there is none.
        environ: Where variables and directories come from.

    Raises:
        SettingsError: Something in file or environment can't be used; it names all problems at once.
    """
    path = path or settings_file(environ)
    file = _without_empty(read_yaml(path)) if path else YamlFile(None)
    variables = read_environment(environ)
    sources = _Sources(file, variables)
    settings = _validated(sources)
    base = path.parent if path else Path.cwd()
    settings = _anchored(settings, base)
    problems = findings(settings)
    if file.path is not None:
        written = (*open_settings_file(settings, file.path), *open_to_others(settings, file.path))
        problems += [finding for finding in written if sources.origin(finding.path) == "file"]
    if not problems:
        settings, problems = with_keys(settings, environ, base=base)
        settings, unusable = with_webhook_urls(settings, environ, base=base)
        problems += unusable
    if problems:
        raise SettingsError(sources.problem(finding) for finding in problems)
    notes = (*unset_variables(settings), *unset_webhooks(settings), *ignored_addresses(settings, environ))
    origins = {".".join(leaf): sources.origin(leaf) for leaf, _ in leaves(settings.model_dump())}
    return LoadedSettings(
        settings=settings,
        origins=origins,
        path=path,
        places=places(settings, environ, user_id=os.geteuid()),
        warnings=tuple(sources.noted(place, text) for place, text in notes),
        sources=sources,
    )


def _without_empty(file: YamlFile) -> YamlFile:
    """A section whose keys are all commented out reads as null and says nothing."""
    values = {name: value for name, value in file.values.items() if value is not None or _takes_null(name)}
    return YamlFile(file.path, values, file.lines)


def _takes_null(name: str) -> bool:
    key = find_key((name,))
    return key is None or key.kind is Kind.VALUE


def _anchored(settings: Settings, base: Path) -> Settings:
    """A relative price file lies beside the settings file."""
    if settings.prices.file is None:
        return settings
    return settings.model_copy(update={"prices": settings.prices.model_copy(update={"file": base / settings.prices.file})})


def _validated(sources: "_Sources") -> Settings:
    try:
        return Settings(**_merged(sources.file.values, sources.variables))
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise SettingsError(_in_order(sources.refused(detail) for detail in details))


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _hidden(path: tuple[str, ...], value: object) -> object:
    key = find_key(path)
    return HIDDEN if key is not None and key.secret and value is not None else value


@dataclass(frozen=True, slots=True, repr=False)
class _Sources:
    """What was read, to say of a place where it stands; keys are in it as they were written, so it shows nothing of itself."""

    file: YamlFile
    variables: Mapping[str, Any]

    def origin(self, path: KeyPath) -> Origin:
        if _depth(self.variables, path):
            return "environment"
        return "file" if _holds(self.file.values, path) else "default"

    def problem(self, finding: Finding) -> Problem:
        """Return a finding of the rules with its place."""
        dotted, value = _dotted(finding.path), finding.value if finding.value == HIDDEN else shown(finding.value)
        text = f"{dotted} is {value}; allowed: {finding.allowed}"
        return self._placed(finding.path, text, value=str(value), allowed=finding.allowed)

    def noted(self, path: KeyPath, text: str) -> Problem:
        """Return something worth saying of a setting, with its place."""
        return self._placed(path, f"{_dotted(path)} {text}", value="", allowed="")

    def located(self, problem: Problem) -> Problem:
        """Return a problem with the place of its key; as it is where it has a place, or its key was given nowhere."""
        path = self._path(problem.key)
        if problem.file or problem.variable or self.origin(path) == "default":
            return problem
        here = self._placed(path, problem.text, value=problem.value, allowed=problem.allowed)
        return replace(problem, file=here.file, line=here.line, variable=here.variable)

    def _path(self, dotted: str) -> KeyPath:
        """The place that a dotted key names; names with dots in them are found in the file."""
        written = next((path for path in self.file.lines if path and _dotted(path) == dotted), None)
        return written or tuple(int(part) if part.isdigit() else part for part in dotted.split("."))

    def refused(self, detail: ErrorDetails) -> Problem:
        """Return what a model refused, in our own words."""
        path: KeyPath = tuple(part for part in detail["loc"] if part != "[key]")
        dotted = _dotted(path)
        if detail["type"] == "extra_forbidden":
            near = nearest(dotted, known_beside(path))
            hint = f"; did you mean {near}?" if near else "; `aigend config default` lists all settings"
            return self._placed(path, f"{dotted} is no setting{hint}", value="", allowed=near)
        if detail["type"] == "missing":
            return self._placed(path, f"{dotted} is missing; it has no default", value="", allowed="a value")
        key = find_key(path)
        value = HIDDEN if key is not None and key.guarded else shown(detail["input"])
        allowed = allowed_words(detail, key)
        return self._placed(path, f"{dotted} is {value}; allowed: {allowed}", value=value, allowed=allowed)

    def _placed(self, path: KeyPath, text: str, *, value: str, allowed: str) -> Problem:
        if depth := _depth(self.variables, path):
            return Problem(text=text, key=_dotted(path), value=value, allowed=allowed, variable=variable_name(path[:depth]))
        return Problem(text=text, key=_dotted(path), value=value, allowed=allowed, file=self.file.path, line=self.file.line(path))


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def _depth(values: Any, path: KeyPath) -> int:
    """How many parts of a path a value was given for, down to where it is whole; 0 where it was not given."""
    for depth, part in enumerate(path):
        if not isinstance(values, Mapping):
            return depth
        if part not in values:
            return 0
        values = values[part]
    return len(path)


def _holds(values: Any, path: KeyPath) -> bool:
    return _depth(values, path) > 0
