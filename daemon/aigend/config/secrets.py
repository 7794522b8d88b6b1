"""Providers' keys, out of files, credentials and variables into values that show themselves as `***`.

What a key is used for is the providers' business; here it is found, and a file that others may read is refused.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from aigend.config.key_command import COMMAND_TIMEOUT_S, CommandFailed, printed
from aigend.config.rules import HIDDEN, Finding
from aigend.config.sections import KeySource, ProviderSettings, Settings
from aigend.config.yaml_file import KeyPath

SECRET_LIMIT_BYTES = 65_536
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class UnusableSecret(Exception):  # noqa: N818 - names what it is
    """A secret that can't be used; says what is allowed, and nothing of the secret."""


def with_keys(settings: Settings, environ: Mapping[str, str], *, base: Path) -> tuple[Settings, list[Finding]]:
    """Return the settings with the keys filled in from wherever they lie, and what stands against it.

    A variable that is not set leaves its key empty: the daemon starts, and calls to a provider without any key say what is missing.

    Args:
        settings: Settings whose key sources have been checked to be one for each key.
        environ: Where variables and `$CREDENTIALS_DIRECTORY` are looked up; commands run with it.
        base: Directory of the settings file, for relative paths.
    """
    places = _Places(environ, base)
    found: dict[str, ProviderSettings] = {}
    problems: list[Finding] = []
    for name, provider in settings.providers.items():
        try:
            found[name] = _with_keys(name, provider, places)
        except _UnusableKey as error:
            problems.append(error.finding)
    return settings.model_copy(update={"providers": settings.providers | found}), problems


def open_settings_file(settings: Settings, path: Path) -> Iterator[Finding]:
    """Yield a finding for each key that is written into a settings file that others may read."""
    if not os.stat(path).st_mode & OPEN_TO_OTHERS:
        return
    allowed = "a key in a settings file of mode 0600, or a key from somewhere else"
    for name, provider in settings.providers.items():
        if provider.api_key is not None:
            yield Finding(("providers", name, "api_key"), HIDDEN, allowed)
        for index, source in enumerate(provider.keys):
            if source.value is not None:
                yield Finding(("providers", name, "keys", index), HIDDEN, allowed)


def unset_variables(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and what is to be said of each variable that shall hold a key and does not.

    Args:
        settings: Settings whose keys have been filled in.
    """
    for name, provider in settings.providers.items():
        if provider.api_key_env is not None and provider.api_key is None:
            yield ("providers", name, "api_key_env"), unset(provider.api_key_env, f"provider {name} has no key")
        for index, source in enumerate(provider.keys):
            if source.env is not None and source.value is None:
                yield ("providers", name, "keys", index, "env"), unset(source.env, f"provider {name} goes without this key")


def unset(variable: str, therefore: str) -> str:
    """Return that a variable is not set, and what follows; what looks like a key written in its place is not shown."""
    named = variable if _VARIABLE.fullmatch(variable) else HIDDEN
    return f"names the variable {named}, which is not set here: {therefore}"


class _Places(NamedTuple):
    """Where keys may lie."""

    environ: Mapping[str, str]
    base: Path

    @property
    def credentials(self) -> str | None:
        return self.environ.get("CREDENTIALS_DIRECTORY")

    def variable(self, name: str) -> SecretStr | None:
        value = self.environ.get(name, "").strip()
        return SecretStr(value) if value else None

    def file(self, path: Path) -> SecretStr:
        return read_secret(_found(path, self.credentials, self.base), credentials=self.credentials)

    def credential(self, name: str) -> SecretStr:
        if not self.credentials:
            raise UnusableSecret("a credential that the service manager hands over; $CREDENTIALS_DIRECTORY is not set")
        return read_secret(Path(self.credentials, name), credentials=self.credentials)


class _UnusableKey(Exception):  # noqa: N818 - carries a finding to the one who collects them
    """A key that can't be read, with its place."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.allowed)
        self.finding = finding


def _with_keys(name: str, provider: ProviderSettings, places: _Places) -> ProviderSettings:
    if provider.keys:
        sources = (_filled(name, index, source, places) for index, source in enumerate(provider.keys))
        return provider.model_copy(update={"keys": tuple(sources)})
    try:
        key = _key(name, provider, places)
    except UnusableSecret as error:
        finding = Finding(("providers", name, "api_key_file"), str(provider.api_key_file or ""), str(error))
        raise _UnusableKey(finding) from error
    return provider.model_copy(update={"api_key": key}) if key is not None else provider


def _filled(name: str, index: int, source: KeySource, places: _Places) -> KeySource:
    """Return one of several keys with what its source holds."""
    try:
        value = _value(source, places)
    except UnusableSecret as error:
        (kind,) = source.model_fields_set
        shown = source.command[0] if source.command else str(getattr(source, kind))
        raise _UnusableKey(Finding(("providers", name, "keys", index, kind), shown, str(error))) from error
    return source.model_copy(update={"value": value})


def _value(source: KeySource, places: _Places) -> SecretStr | None:
    if source.env is not None:
        return places.variable(source.env)
    if source.file is not None:
        return places.file(source.file)
    if source.credential is not None:
        return places.credential(source.credential)
    if source.command is not None:
        return printed_secret(source.command, places.environ)
    return source.value


def _key(name: str, provider: ProviderSettings, places: _Places) -> SecretStr | None:
    if provider.api_key is not None:
        return provider.api_key
    if provider.api_key_env is not None:
        return places.variable(provider.api_key_env)
    if provider.api_key_file is not None:
        return places.file(provider.api_key_file)
    if places.credentials and Path(places.credentials, handed := f"{name}_api_key").is_file():
        return places.credential(handed)
    return None


def _found(path: Path, credentials: str | None, base: Path) -> Path:
    if credentials and (handed := Path(credentials, path)).is_file():
        return handed
    return base / path


def read_secret(path: Path, *, credentials: str | None = None) -> SecretStr:
    """Return the one line that a secret file holds.

    Args:
        path: File of mode 0600 or stricter, ours or root's.
        credentials: Directory whose files the service manager guards itself, so that their mode says nothing.

    Raises:
        UnusableSecret: It can't be read, others may read it, or it does not hold exactly one line.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            guarded = credentials is not None and path.is_relative_to(credentials)
            if not guarded and (status.st_mode & OPEN_TO_OTHERS or status.st_uid not in (os.geteuid(), 0)):
                raise UnusableSecret(
                    f"a file of mode 0600 that belongs to this user; it has mode {stat.S_IMODE(status.st_mode):04o}"
                )
            raw = file.read(SECRET_LIMIT_BYTES + 1)
    except OSError as error:
        raise UnusableSecret(f"a file that can be read; {error.strerror}") from error
    return _only_line(raw, "a file that holds one key on one line")


def _only_line(raw: bytes, allowed: str) -> SecretStr:
    lines = raw.split()
    if len(lines) != 1 or len(raw) > SECRET_LIMIT_BYTES or not lines[0].isascii():
        raise UnusableSecret(allowed)
    return SecretStr(lines[0].decode("ascii"))


def printed_secret(command: Sequence[str], environ: Mapping[str, str]) -> SecretStr:
    """Return the one line that a command prints.

    Raises:
        UnusableSecret: It can't be run, fails, takes too long, or does not print exactly one line.
    """
    allowed = f"a command that prints one key on one line within {COMMAND_TIMEOUT_S:g} s"
    try:
        return _only_line(printed(command, environ, limit_bytes=SECRET_LIMIT_BYTES), allowed)
    except CommandFailed as error:
        raise UnusableSecret(f"{allowed}; {error}") from error
