"""Kills a serving daemon again and again under load and compares its ledger with what the provider charged.

Run as `python -m tests.torture.daemon_kills --kills 1000`. Eight callers go on over every kill and start; the emulator, in a
process of its own, has each charge on disk before it answers. The last line printed is a JSON object, and the exit code is 1 for
any breach: `lost` is a charge without a row, `doubled` a charge or row too many, `phantom` a settled row without a charge, `wrong`
anything else in the ledger, `unexpected` what callers saw and should not have. `--control` strikes a charge that was answered out
of the truth and invents another: both must be found.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aigen

from tests.e2e.running import Aigend, Warm, charges, eventually

CALLERS = 8
EXAMINED = 40  # times that the ledger is looked at on the way, at most; the last look sees all that was ever charged
MODEL = "gpt-4o-mini"
BUDGETS = [
    {"name": "all", "period": "monthly", "limit_usd": "1000000"},
    {"name": "each", "each": "session", "period": "daily", "limit_usd": "1000000", "action": "warn"},
]
SETTINGS = {"limits": {"per_provider": CALLERS}, "budgets": BUDGETS, "log": {"level": "warning"}}


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
        answer = self._streamed(prompt) if self._dice.random() < 0.15 else self._client.complete(prompt, model=MODEL)
        if answer is None:
            return
        self.seen.answers.setdefault(prompt, set()).add(answer.text)
        self.seen.ends[str(answer.cache_outcome)] += 1
        if answer.ledger_entry_id:
            self.seen.paid.append((answer.request_id, answer.ledger_entry_id, answer.cost_usd_nanos))

    def _streamed(self, prompt: str) -> aigen.Completion | None:
        begun = False
        with self._client.stream(prompt, model=MODEL) as stream:
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


def torture(folder: Path, *, kills: int, control: bool = False) -> tuple[dict[str, object], list[str]]:
    """Kill that often; return the figures and a sentence for each breach.

    Args:
        folder: Where daemon, truth and log lie.
        kills: How often; at least once.
        control: Spoil the truth before the last look at it.
    """
    truth, began = folder / "truth.jsonl", time.monotonic()
    with ExitStack() as stack:
        base_url = stack.enter_context(emulator_process(truth))
        warm = stack.enter_context(closing(Warm()))
        daemon = stack.enter_context(closing(Aigend(folder / "a", settings=SETTINGS, base_url=base_url, warm=warm)))
        seen, unknown_rows, breaches = _killed(daemon, truth, kills)
        charged = _spoilt(charges(truth), seen) if control else charges(truth)
        breaches += daemon.breaches(charged)
    unexpected = [surprise for each in seen for surprise in each.surprises] + list(_seen_wrong(seen, charged))
    figures = {
        "kills": kills,
        **_counted(seen, charged, breaches),
        "unexpected": len(unexpected),
        "unknown_rows": unknown_rows,
        "seconds": round(time.monotonic() - began, 1),
    }
    return figures, [*breaches, *unexpected]


def _killed(daemon: Aigend, truth: Path, kills: int) -> tuple[list[Seen], int, list[str]]:
    """Let callers ask while the daemon is killed; return what they saw, the rows of unknown outcome, and breaches on the way."""
    dice, stop, breaches = random.Random(kills), threading.Event(), []  # noqa: S311 - chooses when
    callers = [Caller(daemon, number, stop) for number in range(CALLERS)]
    daemon.start()
    for caller in callers:
        caller.start()
    eventually(lambda: truth.exists() and truth.stat().st_size)
    daemon.kill()
    for kill in range(1, kills):
        _live_and_die(daemon, truth, kill, dice)
        if kill % -(-kills // EXAMINED) == 0:
            breaches += daemon.breaches(charges(truth))
    daemon.start()
    stop.set()
    patience = time.monotonic() + 60
    for caller in callers:
        caller.join(max(0.0, patience - time.monotonic()))
    breaches += [f"a caller still waits: {caller.name}" for caller in callers if caller.is_alive()]
    unknown_rows = daemon.client().stats(period="all").totals.unknown_count
    if code := daemon.stop():
        breaches.append(f"the daemon's exit code is {code}")
    return [caller.seen for caller in callers], unknown_rows, breaches


def _counted(seen: list[Seen], charged: list[dict], breaches: list[str]) -> dict[str, object]:
    ends = sum((each.ends for each in seen), Counter())
    repeated = sum(count > 1 for count in Counter(charge["request_id"] for charge in charged).values())
    return {
        "calls": sum(ends.values()),
        "charges": len(charged),
        "lost": sum(breach.startswith("I1 lost") for breach in breaches),
        "doubled": repeated + sum(breach.startswith("I1 twice") for breach in breaches),
        "phantom": sum(breach.startswith("I2") for breach in breaches),
        "wrong": sum(not breach.startswith(("I1", "I2")) for breach in breaches),
        "ends": dict(sorted(ends.items())),
    }


def _seen_wrong(seen: list[Seen], charged: list[dict]) -> Iterator[str]:
    """Yield what callers got and was not paid for so."""
    charged_ids = {charge["request_id"] for charge in charged}
    paid = [entry for each in seen for entry in each.paid]
    yield from (f"{request_id} was answered and not charged" for request_id, _, _ in paid if request_id not in charged_ids)
    yield from (f"{request_id} has the cost {cost}" for request_id, _, cost in paid if not cost)
    entries = Counter(entry for _, entry, _ in paid)
    yield from (f"ledger entry {entry} stands in {count} answers" for entry, count in entries.items() if count > 1)
    texts: dict[str, set[str]] = {}
    for each in seen:
        for prompt, answers in each.answers.items():
            texts.setdefault(prompt, set()).update(answers)
    yield from (f"{prompt!r} has {len(answers)} answers" for prompt, answers in texts.items() if len(answers) > 1)


def _spoilt(charged: list[dict], seen: list[Seen]) -> list[dict]:
    """The control: one charge less, and one that nobody made."""
    answered = next(request_id for each in seen for request_id, _, _ in each.paid)
    invented = charged[0] | {"request_id": "00000000-0000-4000-8000-000000000000", "attempt": 1}
    return [*(charge for charge in charged if charge["request_id"] != answered), invented]


def main(arguments: list[str]) -> int:
    """Return 0 where nothing was lost, doubled, made up or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--control", action="store_true", help="spoil the truth: one charge less, and one that nobody made")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aigen-kills-") as folder:
        figures, breaches = torture(Path(folder), kills=max(1, chosen.kills), control=chosen.control)
    sys.stderr.writelines(f"{breach}\n" for breach in breaches[:20])
    sys.stdout.write(json.dumps(figures) + "\n")
    return int(bool(breaches or figures["doubled"]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
