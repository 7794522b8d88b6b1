"""Webhooks' addresses, out of files, credentials and variables into values that show themselves as `***`.

Whoever has such an address may post to its channel, so it is kept like a key; `secrets` has the rules for the files.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from aigend.config.rules import HIDDEN, Finding, loopback
from aigend.config.secrets import OPEN_TO_OTHERS, UnusableSecret, read_secret, unset
from aigend.config.sections import Settings, WebhookSettings
from aigend.config.yaml_file import KeyPath

ALLOWED = "an https address without credentials; plain http on loopback only"


def with_webhook_urls(settings: Settings, environ: Mapping[str, str], *, base: Path) -> tuple[Settings, list[Finding]]:
    """Return the settings with the addresses of webhooks filled in from wherever they lie, and what stands against it.

    Args:
        settings: Settings whose webhooks have been checked to have one source each.
        environ: Where variables and `$CREDENTIALS_DIRECTORY` are looked up.
        base: Directory of the settings file, for relative paths.
    """
    found: dict[str, WebhookSettings] = {}
    problems: list[Finding] = []
    for name, webhook in settings.alerts.webhooks.items():
        try:
            url = _url(webhook, environ, base)
        except UnusableSecret as error:
            problems.append(Finding(("alerts", "webhooks", name, "url_file"), str(webhook.url_file), str(error)))
            continue
        if url is not None and not _usable(url.get_secret_value()):
            problems.append(Finding(("alerts", "webhooks", name), HIDDEN, ALLOWED))
        found[name] = webhook.model_copy(update={"url": url})
    alerts = settings.alerts.model_copy(update={"webhooks": found})
    return settings.model_copy(update={"alerts": alerts}), problems


def open_to_others(settings: Settings, path: Path) -> Iterator[Finding]:
    """Yield a finding for each address that is written into a settings file that others may read."""
    if not os.stat(path).st_mode & OPEN_TO_OTHERS:
        return
    for name, webhook in settings.alerts.webhooks.items():
        if webhook.url is not None:
            allowed = "an address in a settings file of mode 0600, or an address from somewhere else"
            yield Finding(("alerts", "webhooks", name, "url"), HIDDEN, allowed)


def unset_webhooks(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and what is to be said of each variable that shall hold an address and does not.

    Args:
        settings: Settings whose addresses have been filled in.
    """
    for name, webhook in settings.alerts.webhooks.items():
        if webhook.url_env is not None and webhook.url is None:
            therefore = f"webhook {name} has no address, and no alert is posted there"
            yield ("alerts", "webhooks", name, "url_env"), unset(webhook.url_env, therefore)


def _url(webhook: WebhookSettings, environ: Mapping[str, str], base: Path) -> SecretStr | None:
    if webhook.url_env is not None:
        value = environ.get(webhook.url_env, "").strip()
        return SecretStr(value) if value else None
    if webhook.url_file is None:
        return webhook.url
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    handed = Path(credentials, webhook.url_file) if credentials else None
    return read_secret(handed if handed and handed.is_file() else base / webhook.url_file, credentials=credentials)


def _usable(address: str) -> bool:
    try:
        url = urlsplit(address)
        usable = url.port is None or url.port > 0
    except ValueError:
        return False
    safe = url.scheme == "https" or (url.scheme == "http" and loopback(url.hostname or ""))
    return bool(usable and safe and url.hostname and "@" not in url.netloc and not url.fragment)
