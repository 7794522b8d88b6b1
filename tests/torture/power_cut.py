"""Cuts the power of a process that makes paid calls, at random moments, and compares its ledger with what it had acknowledged.

Run as `python -m tests.torture.power_cut --cuts 100`. A life of the process is watched by the shim; a cut takes all that was synced
by then and any part of what was not. `--normal` is the control: it commits without a sync, and loses. The last line of the output
is a JSON object.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import structlog
from aigend.ledger import schema
from aigend.ledger.entries import Settlement
from aigend.ledger.ledger import Ledger
from aigend.ledger.verify import verify
from aigend.storage import group_commit
from aigend.storage.files import StorageRefused
from aigend.types import Cost, CostBasis, TokenUsage

from tests.ledger_invariants import check_invariants
from tests.torture import disk_shim
from tests.torture.disk_shim import Note, PowerCut
from tests.torture.ledger_torture import intent, open_ledger

TASKS = 6
LOUD_PAGES = 60  # so that a life of a second sees many checkpoints within commits
ACKNOWLEDGED = "acknowledged"
FINAL = frozenset({"settled", "released"})


@dataclass(frozen=True, slots=True)
class Life:
    """What a process did, and what lay on the disk before."""

    before: dict[str, bytes]
    notes: list[Note]


async def live(directory: Path, *, calls: int, seed: int) -> None:
    """Make calls and write down each acknowledgement, unbuffered, then end as a kill does it."""
    dice = random.Random(seed)  # noqa: S311 - chooses when, guards nothing
    ledger = open_ledger(directory)
    await ledger.open()
    said = os.open(directory / ACKNOWLEDGED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(request_id: str, attempt: int, state: str) -> None:
        os.write(said, json.dumps([request_id, attempt, state]).encode() + b"\n")

    async def caller(task: int) -> None:
        for number in range(calls // TASKS):
            await _call(ledger, f"{task}-{number}", dice, say)
            if dice.random() < 0.1:
                await asyncio.sleep(0.03)  # long enough to be quiet: checkpointed meanwhile

    await asyncio.gather(*map(caller, range(TASKS)))
    await ledger._write_mark()
    os._exit(0)


async def _call(ledger: Ledger, request_id: str, dice: random.Random, say) -> None:  # type: ignore[no-untyped-def]
    reservation = await ledger.reserve(intent(request_id))
    number, fate = reservation.attempt_number, dice.random()
    say(request_id, number, "sent")
    if fate < 0.1:
        await ledger.release(reservation, reason="connect refused")
        say(request_id, number, "released")
    elif fate < 0.2:
        await ledger.mark_unknown(reservation, reason="timeout")
        say(request_id, number, "unknown")
    else:
        cost = Cost(nanos=dice.randrange(1, 20_000), basis=CostBasis.PRICED)
        reply = b"answer" * dice.randrange(1_500)
        await ledger.settle(reservation, Settlement(usage=TokenUsage(input=9, output=3), cost=cost, reply=reply))
        say(request_id, number, "settled")


def watched_life(shim: Path, directory: Path, *, calls: int, seed: int, normal: bool) -> Life:
    """Let a process live under the shim on a ledger that was used before, and return what it did."""
    state, log = directory / "state", directory / "log"
    state.mkdir()
    asyncio.run(_used_before(state))
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    command = [sys.executable, "-m", "tests.torture.power_cut", "--live", str(state), "--calls", str(calls), "--seed", str(seed)]
    watched = dict(os.environ, **disk_shim.environment(shim, watched=state, log=log))
    subprocess.run([*command, *(["--normal"] if normal else [])], env=watched, check=True, capture_output=True, timeout=120)
    return Life(before, disk_shim.read_notes(log))


async def _used_before(directory: Path) -> None:
    ledger = open_ledger(directory)
    await ledger.open()
    await ledger.release(await ledger.reserve(intent("earlier")), reason="connect refused")
    await ledger.close()


async def examined(life: Life, directory: Path, *, position: int, dice: random.Random) -> dict[str, object]:
    """Cut the power after so many notes, start anew, and return what is missing and what is wrong."""
    cut = PowerCut(life.before, dice=dice)
    for name, content in cut.after(life.notes[:position]).items():
        with os.fdopen(os.open(directory / name, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(content)
    said = b"".join(note.data for note in life.notes[:position] if note.name == ACKNOWLEDGED)
    ledger = open_ledger(directory)
    report = await ledger.open()
    found = await ledger.read(lambda connection: connection.execute(_ATTEMPTS).fetchall(), fresh=False)
    await ledger.close()
    states = {(request_id, number): state for request_id, number, state in found}
    lost = [ack for ack in map(json.loads, said.splitlines()) if not _holds(ack, states)]
    charged = [{"request_id": key[0], "attempt": key[1]} for key, state in states.items() if state != "released"]
    wrong = [*verify(ledger.path), *check_invariants(ledger.path, charged)]
    return {"lost": lost, "wrong": wrong, "alarms": list(report.alarms), "dropped": cut.dropped}


_ATTEMPTS = "SELECT request_id, attempt_number, state FROM attempt"


def _holds(acknowledged: tuple[str, int, str], states: dict[tuple[str, int], str]) -> bool:
    """Whether what was acknowledged is there; what was sent may have gone further."""
    request_id, number, said = acknowledged
    state = states.get((request_id, number))
    return state is not None and (state == said if said in FINAL | {"unknown"} else True)


def torture(directory: Path, *, cuts: int, calls: int, seed: int, normal: bool) -> dict[str, object]:
    """Cut the power that often and return what was found."""
    began, dice = time.perf_counter(), random.Random(seed)  # noqa: S311 - chooses when, guards nothing
    shim = disk_shim.build(directory / "shim.so")
    life = watched_life(shim, directory, calls=calls, seed=seed, normal=normal)
    refused, lost, wrong, alarmed, dropped = 0, 0, [], 0, 0
    for cut in range(cuts):
        place = directory / str(cut)
        place.mkdir()
        try:
            found = asyncio.run(examined(life, place, position=dice.randrange(len(life.notes) + 1), dice=dice))
        except StorageRefused as error:
            refused, wrong = refused + 1, [*wrong, str(error)]
            continue
        finally:
            shutil.rmtree(place)
        lost, wrong = lost + len(found["lost"]), [*wrong, *found["wrong"]]  # type: ignore[arg-type,misc]
        alarmed, dropped = alarmed + bool(found["alarms"]), dropped + found["dropped"]  # type: ignore[operator]
    acknowledged = sum(note.name == ACKNOWLEDGED for note in life.notes)
    seconds = round(time.perf_counter() - began, 1)
    figures = {"cuts": cuts, "acknowledged": acknowledged, "notes": len(life.notes), "dropped": dropped, "lost": lost}
    return figures | {"wrong": wrong[:5], "alarmed": alarmed, "refused": refused, "seconds": seconds}


def main(arguments: list[str]) -> int:
    """Return 0 where nothing was lost and nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--normal", action="store_true", help="the control: commit without a sync")
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if chosen.live is not None:
        _prepare(normal=chosen.normal)
        asyncio.run(live(chosen.live, calls=chosen.calls, seed=chosen.seed))
    with tempfile.TemporaryDirectory(prefix="aigen-power-") as directory:
        found = torture(Path(directory), cuts=chosen.cuts, calls=chosen.calls, seed=chosen.seed, normal=chosen.normal)
    sys.stdout.write(json.dumps(found) + "\n")
    return int(bool(found["lost"] or found["wrong"] or found["alarmed"] or found["refused"]))


def _prepare(*, normal: bool) -> None:
    """Checkpoint often; the control lets SQLite commit without a sync."""
    group_commit.LOUD_PAGES = LOUD_PAGES
    if not normal:
        return
    connect = schema.connect_writer

    def careless(path: Path):  # type: ignore[no-untyped-def]
        connection = connect(path)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    schema.connect_writer = careless


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
