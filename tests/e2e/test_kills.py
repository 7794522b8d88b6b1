"""Killed at random under load, the daemon loses no charge and counts none twice; what is written down afterwards is lost.

`KILLS` in the environment says how often. The last line printed is a JSON object of the figures.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import ROOT, Aigend, charges, eventually

KILLS = int(os.environ.get("KILLS", "25"))
CALLERS = 8
EXAMINED_ONE_BY_ONE = 50  # with more kills than that every fifth is examined
BUDGETS = [
    {"name": "all", "period": "monthly", "limit_usd": "1000000"},
    {"name": "each", "each": "session", "period": "daily", "limit_usd": "1000000", "action": "warn"},
]


@dataclass
class Seen:
    """What the callers saw."""

    answers: dict[str, set[str]] = field(default_factory=dict)  # by prompt
    paid: list[tuple[str, str, int | None]] = field(default_factory=list)  # request id, ledger entry, cost
    ends: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)


class Caller(threading.Thread):
    """Asks until told to stop: new questions, questions that others ask too, and questions from before."""

    def __init__(self, daemon: Aigend, number: int, stop: threading.Event) -> None:
        super().__init__(name=f"caller-{number}")
        self.seen = Seen()
        self._client = daemon.client(timeout=120.0)
        self._number = number
        self._stop_asked = stop
        self._dice = random.Random(number)  # noqa: S311 - chooses questions, guards nothing

    def run(self) -> None:
        """Ask."""
        with self._client.session(f"caller-{self._number}"):
            for count in range(1_000_000):
                if self._stop_asked.is_set():
                    return
                try:
                    self._ask(self._question(count))
                except aigen.OutcomeUnknown:
                    self.seen.ends["unknown"] += 1
                except Exception as error:  # noqa: BLE001 - the test shows it
                    self.seen.surprises.append(f"{type(error).__name__}: {error}")

    def _question(self, count: int) -> str:
        fate = self._dice.random()
        if fate < 0.7:
            return f"question {count} of caller {self._number}"
        return f"question {count // 3} of everybody" if fate < 0.9 else f"question {count // 2} of caller {self._number}"

    def _ask(self, prompt: str) -> None:
        answer = self._streamed(prompt) if self._dice.random() < 0.15 else self._client.complete(prompt, model="gpt-4o-mini")
        if answer is None:
            return
        self.seen.answers.setdefault(prompt, set()).add(answer.text)
        self.seen.ends[str(answer.cache_outcome)] += 1
        if answer.ledger_entry_id:
            self.seen.paid.append((answer.request_id, answer.ledger_entry_id, answer.cost_usd_nanos))

    def _streamed(self, prompt: str) -> aigen.Completion | None:
        begun = False
        with self._client.stream(prompt, model="gpt-4o-mini") as stream:
            try:
                for _ in stream:
                    begun = True
            except aigen.DaemonUnavailable:
                if not begun:
                    raise
                self.seen.ends["stream broken"] += 1  # its beginning was seen, so that nobody may send it again
                return None
        return stream.completion


@contextmanager
def emulator_process(truth: Path) -> Iterator[str]:
    """Run the emulator in a process of its own, every charge on disk before its answer."""
    flags = ("--port", "0", "--truth", str(truth), "--first-token-ms", "8", "--answer-tokens", "40")
    child = subprocess.Popen([sys.executable, "-m", "aigen_emulator", *flags], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with closing(child.stdout):
        try:
            yield json.loads(child.stdout.readline())["base_url"]
        finally:
            child.terminate()
            child.wait(10)


def _live_and_die(daemon: Aigend, truth: Path, kill: int, dice: random.Random) -> None:
    """One life: mostly killed under load, now and then while it still opens its files."""
    charged = truth.stat().st_size
    opening = kill % 8 == 7
    daemon.start(ready=not opening, fresh=kill % 50 == 1)
    if not opening:
        eventually(lambda: truth.stat().st_size > charged)
    time.sleep(dice.uniform(0, 0.06 if opening else 0.4))
    daemon.kill()


@pytest.mark.timeout(60 + KILLS * 2)
def test_no_call_is_lost_or_counted_twice(make_daemon: MakeDaemon, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Whatever the provider charged is one row, settled or unknown; counters equal rows; nobody pays twice for one request id."""
    truth, began, dice = tmp_path / "truth.jsonl", time.monotonic(), random.Random(KILLS)  # noqa: S311 - chooses when
    breaches: list[str] = []
    with emulator_process(truth) as base_url:
        settings = {"limits": {"per_provider": CALLERS}, "budgets": BUDGETS, "log": {"level": "warning"}}
        daemon = make_daemon(settings, base_url=base_url)
        stop = threading.Event()
        callers = [Caller(daemon, number, stop) for number in range(CALLERS)]
        daemon.start()
        for caller in callers:
            caller.start()
        eventually(lambda: truth.exists() and truth.stat().st_size)
        daemon.kill()
        for kill in range(1, KILLS):
            _live_and_die(daemon, truth, kill, dice)
            if KILLS <= EXAMINED_ONE_BY_ONE or kill % 5 == 0:
                breaches += daemon.breaches(charges(truth))
        daemon.start()
        stop.set()
        patience = time.monotonic() + 60
        for caller in callers:
            caller.join(max(0.0, patience - time.monotonic()))
        assert not any(caller.is_alive() for caller in callers)
        totals = daemon.client().stats(period="all").totals
        assert daemon.stop() == 0
    breaches += daemon.breaches(charged := charges(truth))
    seen = [caller.seen for caller in callers]
    ends = sum((each.ends for each in seen), Counter())
    doubled = sum(count > 1 for count in Counter(charge["request_id"] for charge in charged).values())
    figures = {
        "kills": KILLS,
        "calls": sum(ends.values()),
        "charged": len(charged),
        "ends": dict(sorted(ends.items())),
        "unknown_rows": totals.unknown_count,
        "lost": sum(breach.startswith("I1 lost") for breach in breaches),
        "doubled": doubled + sum(breach.startswith("I1 twice") for breach in breaches),
        "wrong": sum(not breach.startswith("I1") for breach in breaches),
        "seconds": round(time.monotonic() - began, 1),
    }
    with capfd.disabled():
        print("\n" + json.dumps(figures), flush=True)  # noqa: T201 - what was measured
    assert (breaches, doubled) == ([], 0)
    assert [surprise for each in seen for surprise in each.surprises] == []
    _check_callers(seen, charged)


def _check_callers(seen: list[Seen], charged: list[dict]) -> None:
    """What callers got is what was paid for."""
    charged_ids = {charge["request_id"] for charge in charged}
    paid = [entry for each in seen for entry in each.paid]
    assert {request_id for request_id, _, _ in paid} <= charged_ids
    assert all(cost is not None and cost > 0 for _, _, cost in paid)
    assert max(Counter(entry for _, entry, _ in paid).values()) == 1  # no entry stands in two answers
    texts: dict[str, set[str]] = {}
    for each in seen:
        for prompt, answers in each.answers.items():
            texts.setdefault(prompt, set()).update(answers)
    assert [prompt for prompt, answers in texts.items() if len(answers) > 1] == []


@pytest.mark.timeout(60)
def test_what_is_written_down_afterwards_is_lost():
    """Control: a program that pays first and writes down later, in groups, loses charges when it is killed."""
    command = [sys.executable, str(ROOT / "tests" / "torture" / "ledger_torture.py"), "--kills", "6", "--afterwards"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=50)
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == 1, ended.stderr
    assert figures["lost"] > 0
