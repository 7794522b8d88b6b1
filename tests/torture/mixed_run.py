"""Makes calls of every kind, many of which go wrong, and then compares all that tells of money with all else.

Run as `python -m tests.torture.mixed_run --calls 20000`. A real daemon asks an emulator of four providers; nothing is killed. When
all is still, and once more after corrections by hand, `money_agreement` compares rows, statistics, roll-ups, reports, exports,
metrics and the provider's charges to the nano-dollar. The last line printed is a JSON object; the exit code is 1 for any
disagreement. `--control row` adds a nano-dollar to one row behind the daemon's back, `--control counter` leaves one counter out,
`--control charge` one charge: each must be found.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aigen
import yaml

from tests.e2e.running import KEY, Aigend, charges, eventually
from tests.torture import money_agreement
from tests.torture.mixed_calls import SESSIONS, Callers, Told
from tests.torture.money_agreement import Books, Row
from tests.torture.otlp_collector import Collector

UNPRICED = "spare/no-such-price"
RATES = {  # USD per million tokens, and a request; odd ones, so that rounding counts
    ("openai", "gpt-4o-mini"): ("0.1512345", "0.0751234", "0.1512345", "0.1512345", "0.6054321", "0"),
    ("openai", "gpt-4o"): ("2.5", "1.25", "2.5", "2.5", "10.0000005", "0"),
    ("anthropic", "claude-sonnet-4-5"): ("3", "0.3", "3.75", "6", "15", "0"),
    ("perplexity", "openai/gpt-5"): ("1", "1", "1", "1", "1", "0"),  # as it reports itself
    ("google", "gemini-2.5-pro"): ("1.2500001", "0.125", "1.2500001", "1.2500001", "5.0000003", "0.0000000015"),
}
TIERS = {  # likewise, where processing costs less
    ("openai", "gpt-4o-mini", "flex"): ("0.0756789", "0.0375678", "0.0756789", "0.0756789", "0.3027654", "0"),
    ("openai", "gpt-4o-mini", "batch"): ("0.0756173", "0.0375617", "0.0756173", "0.0756173", "0.3027161", "0"),
    ("anthropic", "claude-sonnet-4-5", "batch"): ("1.5000001", "0.15", "1.875", "3", "7.5000003", "0"),
    ("google", "gemini-2.5-pro", "flex"): ("0.6250007", "0.0625", "0.6250007", "0.6250007", "2.5000007", "0"),
    ("google", "gemini-2.5-pro", "batch"): ("0.6250001", "0.0625", "0.6250001", "0.6250001", "2.5000001", "0"),
}
DEARER = ("openai", "gpt-4o")  # its price is corrected in the end
BUDGETS = [
    {"name": "all", "period": "monthly", "limit_usd": "1000000"},
    {"name": "each", "each": "session", "period": "daily", "limit_usd": "1000000", "action": "warn"},
    {"name": "tight", "selector": {"session": "tight"}, "period": "session", "limit_usd": "0.01"},
    {
        "name": "narrow",
        "selector": {"label:team": "narrow"},
        "period": "weekly",
        "limit_usd": "0.02",
        "action": "downgrade",
        "downgrade_to": "gpt-4o-mini",
    },
]
CONTROLS = ("row", "counter", "charge")


@dataclass(frozen=True, kw_only=True)
class House:
    """A running daemon with all that listens to it."""

    daemon: Aigend
    truth: Path
    prices: Path
    collector: Collector

    def cli(self, *words: str) -> str:
        """Return what `aigenctl` prints."""
        command = [sys.executable, "-m", "aigenctl", "--socket", str(self.daemon.socket), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@contextlib.contextmanager
def running(folder: Path) -> Iterator[House]:
    """Run emulator, collector and daemon."""
    truth, prices = folder / "truth.jsonl", folder / "prices.yaml"
    _write_prices(prices, RATES)
    with ExitStack() as stack:
        address = stack.enter_context(_emulator(truth)).removesuffix("/v1")
        collector = stack.enter_context(closing(Collector()))
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        daemon = Aigend(folder / "a", settings=_settings(address, prices), environ=environ)
        yield House(daemon=stack.enter_context(closing(daemon)).start(), truth=truth, prices=prices, collector=collector)


def _settings(address: str, prices: Path) -> dict[str, Any]:
    paths = {"openai": "/v1", "anthropic": "/v1", "google": "/v1", "perplexity": "/perplexity/v1", "spare": "/v1"}
    providers: dict[str, dict[str, Any]] = {
        name: {"base_url": f"{address}/p/{name}{path}", "api_key": KEY, "timeout_s": 2.0} for name, path in paths.items()
    }
    for name in ("openai", "anthropic", "google"):
        providers[name] |= {"batch_api": "use"} | ({} if name == "anthropic" else {"service_tiers": "send"})
    return {
        "deferred": {"max_wait_s": 0.3, "gather_s": 0.1, "poll_min_s": 0.05, "poll_max_s": 0.2},
        "providers": providers,
        "prices": {"file": str(prices)},
        "budgets": BUDGETS,
        "limits": {"per_provider": 24, "total": 64},
        "breaker": {"cool_down_s": 0.5, "max_cool_down_s": 1.0},
        "prompt_caching": {"decision": "second_sight"},
        "services": {"docs": {"prompt_caching": {"decision": "always", "ttl_s": 3600}}},
        "telemetry": {"metrics": True},
        "log": {"level": "error"},
    }


@contextlib.contextmanager
def _emulator(truth: Path) -> Iterator[str]:
    flags = ("--port", "0", "--truth", str(truth), "--prompt-cache")
    child = subprocess.Popen([sys.executable, "-m", "aigen_emulator", *flags], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with closing(child.stdout):
        try:
            yield json.loads(child.stdout.readline())["base_url"]
        finally:
            child.terminate()
            child.wait(10)


def _write_prices(path: Path, rates: dict[tuple[str, str], tuple[str, ...]]) -> None:
    providers: dict[str, dict[str, Any]] = {}
    for (provider, model), found in rates.items():
        tiers = {tier: _tokens(TIERS[key]) for key in TIERS if key[:2] == (provider, model) for tier in key[2:]}
        named = (
            _named(found)
            | tiers
            | {
                "valid_from": "2020-01-01",
                "source": "mixed run",
                "checked_on": datetime.now(UTC).date().isoformat(),
            }
        )
        providers.setdefault(provider, {})[model] = named
    path.write_text(yaml.safe_dump({"version": 1, "currency": "USD", "providers": providers}), encoding="utf-8")


def _named(rates: tuple[str, ...]) -> dict[str, Any]:
    return dict(zip((*money_agreement.TOKENS[:5], "request_fee"), rates, strict=True))


def _tokens(rates: tuple[str, ...]) -> dict[str, str]:
    """Return the rates of a tier, which has no request fee of its own."""
    return {name: rate for name, rate in _named(rates).items() if name != "request_fee"}


async def _called(house: House, *, calls: int, seed: int) -> Told:
    async with aigen.AsyncClient(house.daemon.socket, timeout=120.0) as client:
        return await Callers(client, calls=calls, seed=seed, unpriced=UNPRICED).run()


def _still(client: aigen.Client) -> bool:
    status = client.status()
    deferred = status.deferred_waiting_count or status.deferred_submitted_count
    return not (status.in_flight_count or status.queued_count or status.detached_count or deferred)


def _record_elsewhere(client: aigen.Client, dice: random.Random, count: int) -> None:
    """Book calls made without aigen, today and on three days before, some twice."""
    models = [key for key in RATES if key != DEARER]
    for number in range(count):
        provider, model = dice.choice(models)
        input_tokens, output_tokens = dice.randrange(1, 5_000), dice.randrange(1, 900)
        made = datetime.now(UTC) - timedelta(days=dice.choice((0, 1, 2, 33)), minutes=dice.randrange(60), seconds=1)
        told = {
            "request_id": f"elsewhere-{number}",
            "usage": aigen.TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=dice.randrange(99)),
            "create_time": made,
            "session": dice.choice(SESSIONS),
            "service": "docs",
            "labels": {"team": "b"},
            "cost_usd_nanos": dice.choice((None, 123_456_789)),
        }
        for _ in range(dice.choice((1, 2))):
            client.record_usage(provider, model, **told)


def _reconcile(client: aigen.Client, books: Books) -> None:
    """Settle some entries of unknown outcome by what the provider charged, release some that it did not charge, leave the rest."""
    unknown = [row for row in books.rows if row["state"] == "unknown"]
    for number, row in enumerate(unknown):
        charge = books.charges.get((row["request_id"], row["attempt_number"]))
        paid = money_agreement.cost_charged(charge, books) if charge is not None else None
        if number % 3 == 0 and charge is None:
            client.release_entry(str(row["id"]), note="not on the bill")
        elif number % 3 == 1 and charge is not None and paid is not None:
            bought = money_agreement.usage_charged(charge)
            usage = aigen.TokenUsage(**dict(zip(_BUCKETS, bought, strict=True)))
            known = None if (row["provider"], row["model"]) == DEARER else paid  # what was said stays as it is, whatever prices do
            client.settle_entry(str(row["id"]), usage=usage, cost_usd_nanos=known, note="on the bill")


_BUCKETS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")


def _reprice(house: House, client: aigen.Client) -> dict[tuple[str, str], tuple[str, ...]]:
    """Correct a price in the file, let the daemon read it, and compute past costs anew; return the rates that hold then."""
    corrected = RATES | {DEARER: ("2.6", "1.3", "2.6", "2.6", "9.0000005", "0")}
    _write_prices(house.prices, corrected)
    house.daemon.signal(signal.SIGHUP)
    house.daemon.hear("READY=1")
    looked = client.reprice_ledger(validate_only=True)
    made = client.reprice_ledger()
    assert (looked.changed_count, looked.after_usd_nanos) == (made.changed_count, made.after_usd_nanos)
    return corrected


def _disagreements(house: House, client: aigen.Client, books: Books, *, corrected: bool, control: str) -> Iterator[str]:
    yield from money_agreement.in_truth(books)
    yield from money_agreement.in_stats(client, books)
    yield from money_agreement.in_reports(house.cli, books)
    yield from money_agreement.in_exports(house.cli, books)
    exports = house.collector.exports
    eventually(lambda: house.collector.exports >= exports + 2)
    values = house.collector.values
    if control == "counter":
        values = {key: value for key, value in values.items() if key[0] != "aigen.cost"}
    yield from money_agreement.in_metrics(values, books, corrected=corrected)


def _books(house: House, told: Told, rates: dict[tuple[str, str], tuple[str, ...]], *, control: str) -> Books:
    charged = charges(house.truth)
    if control == "charge":
        answered = {request_id for request_id, _ in told.paid.values()}
        charged.remove(next(charge for charge in charged if charge["request_id"] in answered and charge["provider"] != "spare"))
    rows = money_agreement.read_rows(house.daemon.ledger)
    charged = [_of_line(charge, rows) for charge in charged]
    return Books(
        rows=rows,
        free=tuple(told.free),
        charges={(charge["request_id"], charge["attempt"]): charge for charge in charged},
        rates={key: _named(found) for key, found in rates.items()},
        tiers={key: _named(found) for key, found in TIERS.items()},
    )


def _of_line(charge: Row, rows: tuple[Row, ...]) -> Row:
    """Return a charge under the request id and attempt that the ledger knows it by; a batch line has its own name."""
    found = re.fullmatch(r"a(\d+)-.*", charge.get("custom_id") or "")
    row = next((row for row in rows if found and row["id"] == int(found[1])), None)
    return charge if row is None else charge | {"request_id": row["request_id"], "attempt": row["attempt_number"]}


def _told_wrong(told: Told, rows: tuple[Row, ...]) -> Iterator[str]:
    """Yield where an answer named another cost than its row."""
    yield from told.surprises
    costs = {str(row["id"]): (row["request_id"], row["cost_nanos"]) for row in rows}
    yield from (
        f"entry {entry} was told as {said}, is {costs.get(entry)}" for entry, said in told.paid.items() if costs.get(entry) != said
    )


def _tamper(ledger: Path) -> None:
    with contextlib.closing(sqlite3.connect(ledger, timeout=30)) as connection, connection:
        connection.execute(
            "UPDATE attempt SET cost_nanos = cost_nanos + 1 WHERE id ="
            " (SELECT min(id) FROM attempt WHERE state = 'settled' AND cost_nanos > 0 AND flags = '[]')"
        )


def mixed_run(folder: Path, *, calls: int, seed: int, control: str = "") -> tuple[dict[str, object], list[str]]:
    """Run, compare, correct, compare again; return the figures and a sentence for each disagreement."""
    began, dice = time.monotonic(), random.Random(seed)  # noqa: S311 - chooses what is recorded
    with running(folder) as house, closing(aigen.Client(house.daemon.socket, timeout=300.0)) as client:
        client.set_budget("halt", period="daily", limit_usd="0.002", action="pause", selector={"session": "halted"})
        told = asyncio.run(_called(house, calls=calls, seed=seed))
        eventually(lambda: _still(client), within_s=60)
        called_s = time.monotonic() - began
        if control == "row":
            _tamper(house.daemon.ledger)
        books = _books(house, told, RATES, control=control)
        found = [*_told_wrong(told, books.rows), *_disagreements(house, client, books, corrected=False, control=control)]
        if not control:
            _record_elsewhere(client, dice, max(10, calls // 200))
            _reconcile(client, books)
            rates = _reprice(house, client)
            books = _books(house, told, rates, control=control)
            found += _disagreements(house, client, books, corrected=True, control=control)
        if code := house.daemon.stop():
            found.append(f"the daemon's exit code is {code}")
        recorded = [row for row in books.rows if "recorded" in row["flags"]]
        truth = [*books.charges.values(), *({"request_id": row["request_id"], "attempt": 1} for row in recorded)]
        found += house.daemon.breaches(truth)
    return _figures(told, books, found, seconds=(called_s, time.monotonic() - began)), found


def _figures(told: Told, books: Books, found: list[str], *, seconds: tuple[float, float]) -> dict[str, object]:
    sums = money_agreement.sums_of(books.rows, books.free)
    flagged = sum(bool(set(row["flags"]) - {"repriced"}) for row in books.rows)
    processed = [charge.get("processing") for charge in books.charges.values()]
    return {
        "calls": told.calls,
        "charges": len(books.charges),
        "entries": len(books.rows),
        "flagged": flagged,
        **{name: sums[name] for name in ("hit", "miss", "coalesced", "bypass", "refresh", "replay")},
        **{name: sums[name] for name in ("unknown_count", "released_count", "unpriced_count")},
        **{f"{tier}_count": processed.count(tier) for tier in ("flex", "batch")},
        "cost_usd_nanos": sums["cost"],
        "unknown_usd_nanos": sums["unknown"],
        "errors": dict(sorted(told.errors.items())),
        "disagreements": len(found),
        "calls_s": round(seconds[0], 1),
        "seconds": round(seconds[1], 1),
    }


def main(arguments: list[str]) -> int:
    """Return 0 where everything agrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", choices=CONTROLS, default="", help="spoil something that must be found")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aigen-mixed-") as folder:
        figures, found = mixed_run(Path(folder), calls=chosen.calls, seed=chosen.seed, control=chosen.control)
    sys.stderr.writelines(f"{sentence}\n" for sentence in found[:400])
    sys.stdout.write(json.dumps(figures) + "\n")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
