"""A budget from end to end: set at the command line, spent by calls, told everywhere, paused, resumed, in a real daemon."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually

MODEL = "gpt-4o-mini"
ADDRESS = "/services/T000/B000/planted-7f31c2"  # a secret, as a key is


class Channel:
    """A webhook over HTTP that keeps what it is sent, and fails as often as it is told to first."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.got: list[tuple[str, dict[str, object]]] = []
        self.tries = 0
        waiting, channel = list(answers), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                channel.tries += 1
                status, headers = waiting.pop(0) if waiting else (204, {})
                if status == 204 and self.path == ADDRESS:
                    channel.got.append((self.headers["content-type"], json.loads(body)))
                self.send_response(status)
                for name, value in {"content-length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{ADDRESS}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    """Slack, which has a bad moment, and Discord, which is asked too often."""
    with ExitStack() as stack:
        slack = stack.enter_context(closing(Channel((500, {}))))
        yield slack, stack.enter_context(closing(Channel((429, {"retry-after": "0.05"}))))


def cli(daemon: Aigend, *words: str) -> str:
    """Return what `aigenctl` prints."""
    command = [sys.executable, "-m", "aigenctl", "--socket", str(daemon.socket), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=15).stdout


def ask(client: aigen.Client, text: str) -> aigen.Completion:
    """Ask something new; all of these cost the same."""
    return client.complete(f"{text:.<40}[[answer:tokens=30]]", model=MODEL, max_output_tokens=30)


def watched(daemon: Aigend, seen: list[aigen.Alert]) -> None:
    """Keep what is told on the stream until the daemon ends."""
    client = daemon.client(timeout=float("inf"), restart_timeout=0.1)

    def watch() -> None:
        with contextlib.suppress(aigen.AigenError):
            seen.extend(client.watch_alerts(after=0))

    threading.Thread(target=watch, daemon=True).start()


def settings_for(slack: Channel, discord: Channel) -> dict[str, object]:
    """Return settings with both channels."""
    webhooks = {"team": {"kind": "slack", "url": slack.url}, "crew": {"kind": "discord", "url": discord.url}}
    return {"alerts": {"webhooks": webhooks, "webhook_timeout_s": 5.0}, "features": {"cache": True}}


@pytest.mark.timeout(60)
def test_a_budget_from_its_setting_to_its_end(make_daemon: MakeDaemon, channels: tuple[Channel, Channel]):
    """Each threshold is told once, in the response, on the stream, in the log and in both channels; a pause ends by hand alone."""
    slack, discord = channels
    daemon = make_daemon(settings_for(slack, discord)).start()
    client, seen = daemon.client(), []
    cost = ask(client, "what does it cost").cost_usd_nanos or 0
    dollars = f"{4 * cost / 1e9:.9f}"
    cli(daemon, "budget", "set", "mine", "--period", "monthly", "--limit-usd", dollars, "--action", "pause")
    watched(daemon, seen)

    spent = [ask(client, f"question {number}") for number in range(3)]
    assert [[word for word in ("50 %", "75 %") if word in " ".join(answer.warnings)] for answer in spent] == [
        [],
        ["50 %"],
        ["75 %"],
    ]
    recorded = client.record_usage("openai", MODEL, request_id="elsewhere", usage=aigen.TokenUsage(), cost_usd_nanos=2 * cost)
    assert [word for word in ("90 %", "100 %") if word in " ".join(recorded.warnings)] == ["100 %"]

    with pytest.raises(aigen.BudgetExceeded) as refused:
        ask(client, "one more")
    assert refused.value.metadata["budget"] == "mine"
    cli(daemon, "budget", "set", "mine", "--period", "monthly", "--limit-usd", f"{100 * cost / 1e9:.9f}", "--action", "pause")
    with pytest.raises(aigen.BudgetExceeded) as refused:
        ask(client, "one more")
    assert refused.value.reason == "BUDGET_PAUSED"
    assert ask(client, "question 0").cache_outcome is aigen.CacheOutcome.HIT
    assert "paused" in cli(daemon, "budget", "show", "mine")
    assert "resumed" in cli(daemon, "budget", "resume", "mine")
    assert ask(client, "one more").cost_usd_nanos == cost

    told = sorted(client.alerts(), key=lambda alert: alert.id)
    assert [alert.percent for alert in told if alert.kind == "threshold"] == [50, 75, 90, 100]
    assert [str(alert.kind) for alert in told if alert.kind != "threshold"] == ["paused", "resumed"]
    eventually(lambda: len(seen) == len(told) == len(slack.got) == len(discord.got))
    assert [alert.id for alert in seen] == [alert.id for alert in told]
    assert slack.got == [("application/json", {"text": f"aigen: {alert.text}"}) for alert in told]
    assert discord.got == [
        ("application/json", {"content": f"aigen: {alert.text}", "allowed_mentions": {"parse": []}}) for alert in told
    ]
    assert (slack.tries, discord.tries) == (len(told) + 1, len(told) + 1)
    assert len(cli(daemon, "budget", "alerts", "--csv").splitlines()) == len(told) + 1

    assert daemon.stop() == 0
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    assert [line["text"] for line in lines if line["event"] == "budget_alert"] == [alert.text for alert in told]
    assert ADDRESS not in daemon.log()
    daemon.start()
    assert ask(daemon.client(), "after a restart").warnings == ()
    assert sorted(alert.id for alert in daemon.client().alerts()) == [alert.id for alert in told]


@pytest.mark.timeout(60)
def test_a_dead_channel_is_in_nobodys_way(make_daemon: MakeDaemon):
    """With a channel that never answers, calls are paid and answered all the same, and the daemon stops in time."""
    with ExitStack() as stack:
        silent = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}{ADDRESS}"
        budgets = [{"name": "mine", "period": "daily", "limit_usd": "0.000000001", "action": "warn"}]
        alerts = {"webhooks": {"team": {"kind": "slack", "url": url}}, "webhook_timeout_s": 30.0}
        daemon = make_daemon({"alerts": alerts, "budgets": budgets}).start()
        client = daemon.client()
        answers = [ask(client, f"question {number}") for number in range(5)]
        assert all(answer.cost_usd_nanos for answer in answers)
        assert "100 %" in " ".join(answers[0].warnings)
        assert daemon.stop() == 0


@pytest.mark.timeout(60)
def test_a_budget_set_anew_says_what_it_counts_and_what_it_replaced(make_daemon: MakeDaemon):
    """What calls cost before is told and not counted; another name of the model holds as well; the old limit is told."""
    daemon = make_daemon({}).start()
    client = daemon.client()
    cost = ask(client, "paid before").cost_usd_nanos or 0
    words = ("budget", "set", "late", "--period", "monthly", "--select", f"model=openai/{MODEL}")
    said = cli(daemon, *words, "--limit-usd", f"{2 * cost / 1e9:.9f}")
    assert "It counts calls from now on; what was spent before is not in it." in said
    assert f"cost ${cost / 1e9:.6f}"[:12] in said
    ask(client, "paid since")
    (window,) = client.budget_status("late")
    assert window.spent_usd_nanos == cost
    assert "Replaced what late was: limit" in cli(daemon, *words, "--limit-usd", f"{cost / 1e9:.9f}")
    with pytest.raises(aigen.BudgetExceeded):
        ask(client, "one too many")
