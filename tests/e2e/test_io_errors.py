"""A disk that reports an error once and then works again: a daemon pays for nothing any more until it is started anew."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import eventually
from tests.emulator_server import RunningEmulator
from tests.torture import disk_shim

pytestmark = [pytest.mark.not_on_floor, pytest.mark.skipif(disk_shim.compiler() is None, reason="needs a C compiler")]

MODEL = "gpt-4o-mini"


@pytest.mark.parametrize(("what", "left"), [("write", "unknown"), ("sync", "settled")])  # a kill leaves what only lacks its sync
def test_error_of_the_ledgers_disk(
    make_daemon: MakeDaemon, emulator: RunningEmulator, tmp_path: Path, what: str, left: str
) -> None:
    """The call under way is not acknowledged, the next are refused before they are sent, hits go on, and nothing is lost."""
    daemon, log = make_daemon(), tmp_path / "log"
    shim = disk_shim.build(tmp_path / "shim.so")
    daemon.start(fresh=True, **disk_shim.environment(shim, watched=daemon.state, log=log))
    client = daemon.client()
    client.complete("kept", model=MODEL)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client.complete, "[[fault:delay_ms=500]] under way", model=MODEL)
        eventually(lambda: emulator.requests() == 2)
        disk_shim.fail_next(log, what)
        with pytest.raises(aigen.AigenError) as lost:
            under_way.result()
    assert lost.value.reason == "STORAGE_DAMAGED"
    with pytest.raises(aigen.DaemonFault) as met:
        client.complete("another", model=MODEL)
    assert (met.value.reason, met.value.code) == ("STORAGE_DAMAGED", "DATA_LOSS")
    assert emulator.requests() == 2
    assert client.complete("kept", model=MODEL).cache_outcome == "hit"
    assert client.status().state == "cache_only"
    daemon.kill()
    kinds = [note.kind for note in disk_shim.read_notes(log) if note.name in ("ledger.db", "ledger.db-wal")]
    assert kinds[kinds.index(what[:1].encode()) + 1 :] == []
    client = daemon.start().client()
    assert sorted(str(entry.state) for entry in client.ledger_entries()) == ["settled", left]
    assert client.complete("another", model=MODEL).cache_outcome == "miss"
    assert daemon.stop() == 0
    assert daemon.breaches(emulator.charges()) == []
