"""Providers' keys, out of files, credentials and variables into values that show themselves as `***`.

What a key is used for is the providers' business; here it is found, and a file that others may read is refused.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import SecretStr

from aigend.config.rules import Finding
from aigend.config.sections import ProviderSettings, Settings

SECRET_LIMIT_BYTES = 65_536
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class UnusableSecret(Exception):  # noqa: N818 - names what it is
    """A file whose secret can't be used; says what is allowed."""


def with_keys(settings: Settings, environ: Mapping[str, str], *, base: Path) -> tuple[Settings, list[Finding]]:
    """Return the settings with `api_key` filled in from wherever each provider's key lies, and what stands against it.

    A variable that is not set leaves the key empty: the daemon starts, and calls to that provider say what is missing.

    Args:
        settings: Settings whose key sources have been checked to be at most one for each provider.
        environ: Where `api_key_env` and `$CREDENTIALS_DIRECTORY` are looked up.
        base: Directory of the settings file, for relative paths.
    """
    found: dict[str, ProviderSettings] = {}
    problems: list[Finding] = []
    for name, provider in settings.providers.items():
        try:
            key = _key(name, provider, environ, base=base)
        except UnusableSecret as error:
            problems.append(Finding(("providers", name, "api_key_file"), str(provider.api_key_file or ""), str(error)))
        else:
            found[name] = provider.model_copy(update={"api_key": key}) if key is not None else provider
    return settings.model_copy(update={"providers": settings.providers | found}), problems


def open_settings_file(settings: Settings, path: Path) -> Iterator[Finding]:
    """Yield a finding for each key that is written into a settings file that others may read."""
    if not os.stat(path).st_mode & OPEN_TO_OTHERS:
        return
    for name, provider in settings.providers.items():
        if provider.api_key is not None:
            yield Finding(
                ("providers", name, "api_key"), "***", "a key in a settings file of mode 0600, or api_key_file, or api_key_env"
            )


def _key(name: str, provider: ProviderSettings, environ: Mapping[str, str], *, base: Path) -> SecretStr | None:
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if provider.api_key is not None:
        return provider.api_key
    if provider.api_key_env is not None:
        value = environ.get(provider.api_key_env, "").strip()
        return SecretStr(value) if value else None
    if provider.api_key_file is not None:
        return read_secret(_found(provider.api_key_file, credentials, base), credentials=credentials)
    if credentials and (handed := Path(credentials, f"{name}_api_key")).is_file():
        return read_secret(handed, credentials=credentials)
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
    lines = raw.split()
    if len(lines) != 1 or len(raw) > SECRET_LIMIT_BYTES or not lines[0].isascii():
        raise UnusableSecret("a file that holds one key on one line")
    return SecretStr(lines[0].decode("ascii"))
