"""Alerts that reach Slack and Discord as these want them, however often it takes, and never in the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aigend.config import AlertSettings, WebhookSettings
from aigend.ledger.alerts.events import AlertEvents
from aigend.ledger.alerts.rows import Alert, AlertKind
from aigend.ledger.alerts.webhooks import MOST_WAITING, Webhooks
from aigend.telemetry import names
from aigend.telemetry.tracing import Tracer
from aiohttp import web
from pydantic import SecretStr

from tests.fakes import FakeClock

ALERT = Alert(
    kind=AlertKind.THRESHOLD,
    budget="team",
    key="<!channel> & @everyone",
    window="2026-01-01",
    percent=90,
    limit_nanos=1_000,
    spent_nanos=900,
    text="budget team[<!channel> & @everyone] passed 90 %",
    create_us=1,
    id=7,
)


@dataclass
class Channel:
    """A webhook that takes note of what it gets, and answers as it is told."""

    address: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    got: list[tuple[str, object]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Answer the next way, or with 204."""
        self.got.append((request.headers["Content-Type"], await request.json()))
        status, headers = self.answers.pop(0) if self.answers else (204, {})
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def channel(*answers: tuple[int, dict[str, str]]) -> AsyncIterator[Channel]:
    """Serve a webhook on loopback."""
    served = Channel(answers=list(answers))
    app = web.Application()
    app.router.add_post("/services/secret", served.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        served.address = f"http://127.0.0.1:{runner.addresses[0][1]}/services/secret"
        yield served
    finally:
        await runner.cleanup()


def settings(address: str | None, *, kind: str = "slack", attempts: int = 3) -> AlertSettings:
    """Return settings with one webhook."""
    url = None if address is None else SecretStr(address)
    return AlertSettings(webhooks={"team": WebhookSettings(kind=kind, url=url)}, webhook_attempts=attempts, webhook_timeout_s=5.0)


async def delivered(webhooks: Webhooks, clock: FakeClock) -> list[float]:
    """Let everything be posted or given up, and return the waits in between."""
    waits, began = [], clock.monotonic()
    finished = asyncio.ensure_future(webhooks.finish())
    while not finished.done():
        if clock.sleeper_count:
            before = clock.monotonic()
            while clock.sleeper_count:
                clock.advance(0.5)
                await asyncio.sleep(0)
            waits.append(clock.monotonic() - before)
        await asyncio.sleep(0.001)
    assert clock.monotonic() >= began
    return waits


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("slack", {"text": "aigen: budget team[&lt;!channel&gt; &amp; @everyone] passed 90 %"}),
        ("discord", {"content": "aigen: budget team[<!channel> & @everyone] passed 90 %", "allowed_mentions": {"parse": []}}),
    ],
)
async def test_payload_is_what_the_channel_takes(kind, payload):
    """Each kind gets its own shape, in which nobody is mentioned by a name."""
    async with channel() as served:
        webhooks = Webhooks(settings(served.address, kind=kind), clock=FakeClock())
        webhooks.take(ALERT)
        await webhooks.finish()
        assert served.got == [("application/json", payload)]


async def test_failures_are_tried_again_and_retry_after_is_kept():
    """5xx and 429 are tried again, the latter when it says; alerts stay in order."""
    clock = FakeClock()
    async with channel((500, {}), (429, {"Retry-After": "7"})) as served:
        webhooks = Webhooks(settings(served.address), clock=clock)
        webhooks.take(ALERT)
        webhooks.take(replace(ALERT, text="later"))
        assert await delivered(webhooks, clock) == [1.0, 7.0]
        assert [body["text"] for _, body in served.got][-1] == "aigen: later"
        assert (len(served.got), webhooks.dropped) == (4, 0)


@pytest.mark.parametrize(("answers", "tries"), [([(404, {})], 1), ([(503, {})] * 3, 3)])
async def test_what_can_not_be_posted_is_given_up_and_said(answers, tries, capsys):
    """A refusal is final, failures are bounded, and the log has no address."""
    clock = FakeClock()
    async with channel(*answers) as served:
        webhooks = Webhooks(settings(served.address), clock=clock)
        webhooks.take(ALERT)
        await delivered(webhooks, clock)
        assert (len(served.got), webhooks.dropped) == (tries, 1)
        assert "secret" not in capsys.readouterr().out


async def test_nobody_there_is_a_failure_like_any_other():
    """An address where nobody listens costs tries, not calls."""
    clock = FakeClock()
    webhooks = Webhooks(settings("http://127.0.0.1:9/x", attempts=2), clock=clock)
    webhooks.take(ALERT)
    await delivered(webhooks, clock)
    assert webhooks.dropped == 1


async def test_waiting_alerts_are_bounded_and_closing_gives_them_up():
    """However many come while a channel is away, the oldest go; a stop does not wait for it."""
    webhooks = Webhooks(settings("http://127.0.0.1:9/x"), clock=FakeClock())
    for _ in range(MOST_WAITING + 5):
        webhooks.take(ALERT)
    assert webhooks.dropped == 5
    await webhooks.close()
    assert repr(settings("http://127.0.0.1:9/x")).count("/x") == 0


async def test_webhook_without_an_address_is_passed_by():
    """A variable that is not set, or a webhook that a reload took away, posts nothing."""
    webhooks = Webhooks(settings(None), clock=FakeClock())
    webhooks.take(ALERT)
    await webhooks.finish()
    webhooks.take(ALERT)
    webhooks.use(AlertSettings())
    await webhooks.finish()
    assert webhooks.dropped == 0


class NotedSpan:
    """A span that takes note of its events."""

    traceparent = ""

    def __init__(self, noted):
        self.noted = noted

    def event(self, name, attributes):
        """Take note."""
        self.noted.append((name, attributes))

    def end(self, *, error_type=""):
        """Take note of the end."""
        self.noted.append("end")


async def test_alert_is_an_event_where_traces_are_on():
    """OpenTelemetry gets each alert as an event of a span of its own, whatever share of calls is traced."""
    noted, tracer = [], Tracer()
    AlertEvents(tracer)(ALERT)
    tracer.arm(lambda name, parent, attributes: NotedSpan(noted), sample_ratio=0.0)
    AlertEvents(tracer)(ALERT)
    assert noted[0][0] == names.SPAN_ALERT
    assert (noted[0][1][names.BUDGET], noted[0][1][names.ALERT_PERCENT], noted[1]) == ("team", 90, "end")
