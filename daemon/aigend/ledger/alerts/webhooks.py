"""Alerts to Slack and Discord: posted one after the other in the background, with retries, never in the way of a call.

Source:
    Slack, "Sending messages using incoming webhooks": a JSON object with `text`; `&`, `<` and `>` are escaped. Discord, "Execute
    Webhook": a JSON object with `content` of at most 2,000 characters and `allowed_mentions`. Both answer 2xx, or 429 with
    `Retry-After` in seconds. Read 2026-11.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import structlog

from aigend.clock import Clock
from aigend.config import AlertSettings, WebhookSettings
from aigend.ledger.alerts.rows import Alert

MOST_WAITING = 256  # alerts; the oldest go first where nothing can be posted for long
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
DISCORD_CHARACTERS = 2_000
_TOO_MANY = 429
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook said to a post."""

    status: int  # 0: it was not reached
    retry_after_s: float | None = None

    @property
    def taken(self) -> bool:
        """Whether the alert was posted."""
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        """Whether trying again may help."""
        return self.status in (0, _TOO_MANY) or self.status >= 500


def slack_body(alert: Alert) -> Mapping[str, object]:
    """Return what Slack's incoming webhooks take; nothing in a name can mention anybody."""
    escaped = alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": f"aigen: {escaped}"}


def discord_body(alert: Alert) -> Mapping[str, object]:
    """Return what Discord's webhooks take; nothing in a name can mention anybody."""
    return {"content": f"aigen: {alert.text}"[:DISCORD_CHARACTERS], "allowed_mentions": {"parse": []}}


_BODIES: Mapping[str, Callable[[Alert], Mapping[str, object]]] = {"slack": slack_body, "discord": discord_body}


class Webhooks:
    """Posts alerts to all webhooks of the settings; its methods run on the event loop.

    Args:
        settings: The webhooks, and how patiently they are tried.
        clock: Waits between tries.
    """

    def __init__(self, settings: AlertSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._waiting: dict[str, deque[Alert]] = {}
        self._posting: dict[str, asyncio.Task[None]] = {}
        self.dropped = 0

    def use(self, settings: AlertSettings) -> None:
        """Put other settings in force; what waits for a webhook that is gone is dropped."""
        self._settings = settings

    def take(self, alert: Alert) -> None:
        """Post an alert soon; never waits and never fails. Webhooks do not wait for each other."""
        for name in self._settings.webhooks:
            waiting = self._waiting.setdefault(name, deque())
            if len(waiting) >= MOST_WAITING:
                self._drop(name, waiting.popleft(), why="too many wait")
            waiting.append(alert)
            if name not in self._posting or self._posting[name].done():
                self._posting[name] = asyncio.get_running_loop().create_task(self._empty(name, waiting))

    async def finish(self) -> None:
        """Wait until all that waits is posted or given up."""
        while posting := [task for task in self._posting.values() if not task.done()]:
            await asyncio.wait(posting)

    async def close(self) -> None:
        """Give up what is not posted yet; its rows stay."""
        for task in self._posting.values():
            task.cancel()
        await asyncio.gather(*self._posting.values(), return_exceptions=True)

    async def _empty(self, name: str, waiting: deque[Alert]) -> None:
        while waiting:
            alert = waiting.popleft()
            answer = await self._deliver(name, alert)
            if answer is not None and not answer.taken:
                self._drop(name, alert, why=f"status {answer.status}" if answer.status else "not reached")

    async def _deliver(self, name: str, alert: Alert) -> Answer | None:
        """Return the last answer to an alert; None where its webhook is gone or has no address."""
        for attempt in range(self._settings.webhook_attempts):
            webhook = self._settings.webhooks.get(name)
            if webhook is None or webhook.url is None:
                return None
            answer = await post(webhook, alert, timeout_s=self._settings.webhook_timeout_s)
            if not answer.may_pass or attempt + 1 >= self._settings.webhook_attempts:
                return answer
            pause = answer.retry_after_s or FIRST_PAUSE_S * 2**attempt
            await self._clock.sleep(min(pause, LONGEST_PAUSE_S))
        return None

    def _drop(self, name: str, alert: Alert, *, why: str) -> None:
        self.dropped += 1
        _log.warning("alert_not_posted", webhook=name, alert=alert.id, why=why)


async def post(webhook: WebhookSettings, alert: Alert, *, timeout_s: float) -> Answer:
    """Post an alert once and return what was said; the address, which is a secret, is never shown."""
    aiohttp = await asyncio.to_thread(import_module, "aiohttp")  # costs a tenth of a second that only webhooks are worth
    address = webhook.url.get_secret_value() if webhook.url else ""
    body, limit = _BODIES[webhook.kind](alert), aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, headers={"User-Agent": "aigend"}) as session,
            session.post(address, json=body, allow_redirects=False) as response,
        ):
            return Answer(response.status, _seconds(response.headers.get("Retry-After", "")))
    except (OSError, TimeoutError, aiohttp.ClientError, ValueError):
        return Answer(0)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
