"""The composition root: locks, start, status, reload, drain, stop, and what a defect looks like from outside."""

import asyncio
import os
import re
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aigen
import pytest
from aigend import server
from aigend.clock import SystemClock
from aigend.config import SettingsError
from aigend.observing import metric_sources
from aigend.providers.registry import Account
from aigend.server import Daemon, take_locks
from aigend.storage.failure import StorageFailure
from aigend.storage.files import StorageRefused
from aigend.telemetry import names
from aigend.telemetry.instruments import Measurement
from aigend.telemetry.setup import TelemetryRefused

from tests.emulator_server import RunningEmulator
from tests.fakes import FakeProvider
from tests.serving import MODEL, House, eventually, loaded_settings, serving, write_settings

BUDGET = {"name": "all", "period": "daily", "limit_usd": "5"}


@pytest.fixture
async def house(tmp_path: Path, emulator: RunningEmulator) -> AsyncIterator[House]:
    """A daemon whose provider is the emulator."""
    async with serving(tmp_path / "h", emulator.base_url, budgets=[BUDGET]) as house:
        yield house


async def test_serves_until_stopped(house: House, emulator: RunningEmulator):
    """A call is paid once, then a hit; a stop removes the socket and closes the files."""
    outcomes = [str((await house.client.complete("hello", model=MODEL)).cache_outcome) for _ in range(3)]
    assert outcomes == ["miss", "hit", "hit"]
    assert len(emulator.charges()) == 1
    totals = (await house.client.stats(period="all")).totals
    assert (totals.miss_count, totals.hit_count) == (1, 2)
    await house.stop()
    assert not house.socket.exists()
    assert not (house.folder / "st" / "ledger.db-wal").exists()


async def test_status_tells_how_it_is(house: House):
    """Version, process, places, providers and budgets are those of this daemon."""
    await house.client.complete("hello", model=MODEL)
    status = await house.client.status()
    assert (status.process_id, status.state, status.socket_path) == (os.getpid(), "serving", str(house.socket))
    assert (status.in_flight_count, status.queued_count, status.detached_count, status.ledger_epoch) == (0, 0, 0, 1)
    assert [(provider.name, provider.adapter, provider.loaded) for provider in status.providers] == [("openai", "openai", True)]
    assert [(budget.name, budget.limit_usd_nanos) for budget in status.budgets] == [("all", 5_000_000_000)]
    assert status.resident_bytes > 10_000_000
    assert status.version


async def test_status_and_metrics_tell_which_key_is_passed_by(tmp_path: Path, emulator: RunningEmulator):
    """A key whose circuit is open stands in the status with its position, and so do calls that it did not get."""
    async with serving(tmp_path, emulator.base_url) as house:
        emulator.script({"status": 401})
        for number in range(3):
            with pytest.raises(aigen.ProviderRefused):
                await house.client.complete(f"question {number}", model=MODEL)
        (provider,) = (await house.client.status()).providers
        (key,) = provider.keys
        assert (key.number, key.circuit, key.failure_count, key.refused) == (1, "open", 1, True)
        assert 0 < key.retry_delay_s <= 15
        sources = metric_sources(house.daemon._parts, clock=SystemClock())
        assert sources.read(names.CIRCUIT) == [Measurement(2, {names.PROVIDER: "openai", names.KEY: "1"})]
        assert sources.read(names.PASSED_BY) == [Measurement(2, {names.PROVIDER: "openai"})]
        assert sources.read(names.RETRIES_REFUSED) == []


async def test_settings_in_force_hide_the_key(house: House):
    """Every setting is shown with its origin; a key never."""
    settings = {setting.key: setting for setting in await house.client.settings()}
    assert settings["providers.openai.api_key"].value_json == '"***"'
    assert settings["socket"].value_json == f'"{house.socket}"'
    assert (settings["retry.max_attempts"].origin, settings["limits.total"].origin) == ("file", "default")


async def test_failed_ledger_shows_in_the_state(house: House):
    """With a ledger that can't be written the state says that only the cache answers, and paid calls are refused."""
    await house.client.complete("kept", model=MODEL)
    house.daemon._parts.ledger._writer.failed = StorageFailure("ledger", "made up")
    assert (await house.client.status()).state == "cache_only"
    assert (await house.client.complete("kept", model=MODEL)).cache_outcome == "hit"
    with pytest.raises(aigen.DaemonFault) as met:
        await house.client.complete("new", model=MODEL)
    assert met.value.reason == "STORAGE_DAMAGED"


async def test_defect_is_a_fault_with_an_id(house: House, caplog: pytest.LogCaptureFixture):
    """DAEMON_FAULT names an id that stands in the log beside the traceback, and tells the caller nothing else of the defect."""
    broken = FakeProvider("openai")
    broken.will(RuntimeError("a defect with details"), RuntimeError("and another"))
    providers = house.daemon._parts.providers
    await providers.ready("openai")
    providers._accounts["openai"] = (Account(1, broken),)
    with pytest.raises(aigen.DaemonFault) as met:
        await house.client.complete("hello", model=MODEL, request_id="fault-1")
    assert (met.value.reason, met.value.code) == ("DAEMON_FAULT", "INTERNAL")
    assert "details" not in str(met.value)
    record = next(record for record in caplog.records if record.getMessage() == "daemon_fault")
    assert record.fault_id == met.value.metadata["fault_id"]
    assert record.exc_info
    (item,) = await house.client.complete_many(["hello again"], model=MODEL)
    assert (type(item), item.reason) == (aigen.DaemonFault, "DAEMON_FAULT")
    states = [str(entry.state) async for entry in house.client.ledger_entries(request_id="fault-1")]
    assert states == ["unknown"]


async def test_drain_by_call(house: House):
    """Drain begins the stop with a patience of its own; until the end the state says so, and new calls are refused."""
    with pytest.raises(aigen.InvalidRequest):
        await house.client.drain(wait=7_200)
    assert await house.client.drain(wait=3) == 0
    await house.daemon.until_stopped()
    assert (await house.client.status()).state == "draining"
    with pytest.raises((aigen.DaemonUnavailable, aigen.DeadlineExceeded)):  # the client waits for the next daemon as long as it may
        await house.client.complete_many(["too late"], model=MODEL, timeout=0.5)
    assert await house.client.drain() == 0


async def test_signal_begins_the_stop_and_a_second_one_ends_it(house: House, emulator: RunningEmulator):
    """The first SIGTERM waits for what is inside; the second does not, and books it as unknown."""
    asking = asyncio.create_task(house.client.complete("[[fault:hang]] never", model=MODEL))
    await eventually(lambda: emulator.requests() == 1)
    os.kill(os.getpid(), signal.SIGTERM)
    await house.daemon.until_stopped()
    stopping = asyncio.create_task(house.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    os.kill(os.getpid(), signal.SIGTERM)
    await stopping
    with pytest.raises(aigen.OutcomeUnknown):
        await asking


async def test_stop_waits_for_calls_inside(house: House, emulator: RunningEmulator):
    """A call that is under way when the stop begins is answered."""
    asking = asyncio.create_task(house.client.complete("[[fault:delay_ms=200]] slow", model=MODEL))
    await eventually(lambda: emulator.requests() == 1)
    await house.stop()
    assert (await asking).cache_outcome == "miss"


async def test_reload_puts_new_settings_in_force(house: House, emulator: RunningEmulator):
    """Limits, agents, budgets and providers follow the file at SIGHUP."""
    with pytest.raises(aigen.UnknownModel):
        await house.client.complete("who", agent="helper")
    other = {
        "openai": {"base_url": emulator.base_url, "api_key": "made-up"},
        "second": {"base_url": emulator.provider_url("second")},
    }
    changes = {"limits": {"total": 7}, "agents": {"helper": f"openai/{MODEL}"}, "budgets": [BUDGET | {"name": "new"}]}
    write_settings(house.folder, emulator.base_url, providers=other, **changes)
    os.kill(os.getpid(), signal.SIGHUP)
    parts = house.daemon._parts
    await eventually(lambda: parts.dispatcher.limits.total == 7)
    assert (await house.client.complete("who", agent="helper")).cache_outcome == "miss"
    status = await house.client.status()
    assert [provider.name for provider in status.providers] == ["openai", "second"]
    assert "new" in [budget.name for budget in status.budgets]


@pytest.mark.parametrize(
    "spoilt", ["limits: {totl: 3}", "models: [{id: x, provider: nobody, tier: huge}]", "prices: {file: none.yaml}"]
)
async def test_reload_of_what_can_not_be_used_changes_nothing(house: House, spoilt: str, caplog: pytest.LogCaptureFixture):
    """A file with a mistake is logged, and what was in force stays."""
    before = house.daemon._parts.engine.snapshot
    (house.folder / "aigend.yaml").write_text(spoilt)
    await house.daemon.reload()
    assert house.daemon._parts.engine.snapshot is before
    assert (await house.client.complete("still", model=MODEL)).cache_outcome == "miss"


async def test_start_and_reload_tell_of_an_address_that_is_not_used(
    tmp_path: Path, emulator: RunningEmulator, capsys: pytest.CaptureFixture[str]
):
    """A usual address that settings leave unused is a line of the log when they come into force: keys would go elsewhere."""
    environ = {"KEY": "made-up", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    providers = {"openai": {"api_key_env": "KEY"}}
    async with serving(tmp_path / "a", environ=environ, providers=providers) as house:
        assert "settings_warning" in (said := capsys.readouterr().out)
        assert "OPENAI_BASE_URL" in said
        await house.daemon.reload()
        assert "settings_warning" in capsys.readouterr().out
        write_settings(tmp_path / "a", emulator.base_url)
        await house.daemon.reload()
        assert "settings_warning" not in capsys.readouterr().out


async def test_metrics_tell_what_the_daemon_did(house: House):
    """Counters, hits, budgets and durations can be read as they stand."""
    for _ in range(3):
        await house.client.complete("hello", model=MODEL)
    await house.daemon._parts.ledger.flush()
    sources = metric_sources(house.daemon._parts, clock=SystemClock())
    read = {metric.name: sources.read(metric) for metric in sources.metrics()}
    assert sum(point.value for point in read[names.COMPLETIONS.name]) == 3
    spent = [point for point in read[names.BUDGET_SPENT.name] if isinstance(point, Measurement)]
    assert [point.attributes[names.BUDGET] for point in spent] == ["all"]
    assert spent[0].value > 0
    assert read[names.IN_FLIGHT.name][0].value == 0
    assert read[names.COMPLETION_DURATION.name]


async def test_telemetry_that_can_not_be_set_up_is_refused(tmp_path: Path):
    """A protocol that does not exist ends the start with its name, and nothing is served."""
    with pytest.raises(TelemetryRefused, match="carrier-pigeon"):
        async with serving(tmp_path, environ={"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, telemetry={"metrics": True}):
            raise AssertionError("it serves")
    assert not (tmp_path / "s").exists()


async def test_traced_call_leaves_a_span(tmp_path: Path, emulator: RunningEmulator):
    """With traces on, unary and streamed calls run through their spans and answer as always."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    telemetry = {"traces": True, "sample_ratio": 1.0}
    async with serving(tmp_path, emulator.base_url, environ=environ, telemetry=telemetry) as house:
        assert [str((await house.client.complete("hi", model=MODEL)).cache_outcome) for _ in range(3)] == ["miss", "hit", "hit"]
        stream = house.client.stream("hi", model=MODEL)
        assert (await stream.result()).cache_outcome == "hit"
        with pytest.raises(aigen.UnknownModel):
            await house.client.complete("hi", model="nothing")


def test_locks_are_given_back_when_one_is_missing(tmp_path: Path):
    """Where one place is in use, the others are free again at once."""
    first, second = tmp_path / "a", tmp_path / "b"
    held = take_locks(loaded_settings(first))
    with pytest.raises(StorageRefused) as refused:
        take_locks(loaded_settings(second, cache_directory=str(first / "ca")))
    assert refused.value.exit_code == 75
    for lock in held:
        lock.release()
    for lock in take_locks(loaded_settings(second, cache_directory=str(first / "ca"))):
        lock.release()


def test_one_directory_for_state_and_cache_is_locked_once(tmp_path: Path):
    """State and cache may lie in one directory."""
    held = take_locks(loaded_settings(tmp_path / "a", cache_directory=str(tmp_path / "a" / "st")))
    assert [lock.path.name for lock in held] == ["aigend.lock", "s.lock"]
    for lock in held:
        lock.release()


def test_directory_of_the_default_socket_is_made(tmp_path: Path):
    """Where the settings name no socket, its directory is made with mode 0700."""
    loaded = loaded_settings(tmp_path / "a", socket=None, environ={"XDG_RUNTIME_DIR": str(tmp_path)})
    for lock in take_locks(loaded):
        lock.release()
    assert (tmp_path / "aigen").stat().st_mode & 0o777 == 0o700


def _stop_when_it_serves(path: Path) -> threading.Thread:
    def work() -> None:
        while True:
            with socket.socket(socket.AF_UNIX) as trial:
                if trial.connect_ex(str(path)) == 0:
                    break
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_run_ends_with_0_after_a_signal(tmp_path: Path):
    """The command's whole way: locks, start, SIGTERM, stop."""
    thread = _stop_when_it_serves(tmp_path / "a" / "s")
    assert server.run(loaded_settings(tmp_path / "a"), environ={}) == 0
    thread.join()


def test_second_daemon_is_refused_with_75(tmp_path: Path):
    """A place in use is named."""
    loaded = loaded_settings(tmp_path / "a")
    held = take_locks(loaded)
    with pytest.raises(StorageRefused, match=re.escape(f"state_directory {tmp_path}/a/st is in use")) as refused:
        server.run(loaded, environ={})
    assert refused.value.exit_code == 75
    for lock in held:
        lock.release()


def test_ledger_that_is_none_is_refused_with_78(tmp_path: Path):
    """What can't be trusted is named."""
    loaded = loaded_settings(tmp_path / "a")
    (tmp_path / "a" / "st").mkdir(mode=0o700)
    (tmp_path / "a" / "st" / "ledger.db").write_text("no database at all")
    with pytest.raises(StorageRefused, match=re.escape(f"ledger {tmp_path}/a/st/ledger.db is no ledger")) as refused:
        server.run(loaded, environ={})
    assert refused.value.exit_code == 78


async def test_price_file_that_can_not_be_read_ends_the_start(tmp_path: Path):
    """A daemon is not built on prices that are not there."""
    (tmp_path / "prices.yaml").write_text("version: 1\nproviders: 7\n")
    loaded = loaded_settings(tmp_path / "a", prices={"file": str(tmp_path / "prices.yaml")})
    with pytest.raises(SettingsError, match=r"prices\.yaml"):
        Daemon(loaded, environ={}, clock=SystemClock())
