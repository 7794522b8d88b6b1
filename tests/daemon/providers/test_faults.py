"""How each adapter tells the ways in which a provider fails, through its real SDK and over loopback: one table for all."""

from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest
from aigen_emulator.faults import parse_fault
from aigend.providers import calling
from aigend.providers.port import FaultKind

from tests.daemon.providers.conformance import ADAPTERS, Bench, fault_of
from tests.emulator_server import RunningEmulator

ANSWER_BYTES = 200_000
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
TABLE = [
    # fault, kind of a whole answer, kind of a stream, status
    ("status=400", FaultKind.REJECTED, FaultKind.REJECTED, 400),
    ("status=401", FaultKind.AUTH, FaultKind.AUTH, 401),
    ("status=402", FaultKind.AUTH, FaultKind.AUTH, 402),
    ("status=403", FaultKind.AUTH, FaultKind.AUTH, 403),
    ("status=404", FaultKind.REJECTED, FaultKind.REJECTED, 404),
    ("status=408", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 408),
    ("status=409", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 409),
    ("status=413", FaultKind.REJECTED, FaultKind.REJECTED, 413),
    ("status=418", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 418),
    ("status=422", FaultKind.REJECTED, FaultKind.REJECTED, 422),
    ("status=429", FaultKind.RATE_LIMITED, FaultKind.RATE_LIMITED, 429),
    ("status=500", FaultKind.SERVER_ERROR, FaultKind.SERVER_ERROR, 500),
    ("status=502", FaultKind.SERVER_ERROR, FaultKind.SERVER_ERROR, 502),
    ("status=503", FaultKind.SERVER_ERROR, FaultKind.SERVER_ERROR, 503),
    ("status=529", FaultKind.SERVER_ERROR, FaultKind.SERVER_ERROR, 529),
    ("status=307,headers=location:/v1/elsewhere", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 307),
    ("status=400,body=<html>no</html>", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 400),
    ("status=429,body=slow down", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 429),
    ("status=502,body=<html>bad gateway</html>", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 502),
    ('{"status": 400, "body": "{}"}', FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, 400),
    ("garbage=html", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, None),
    ("garbage=text", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, None),
    ("garbage=broken_json", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, None),
    ("garbage=empty", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, None),
    ("garbage=wrong_shape", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER, None),
    ("reset", FaultKind.RESET, FaultKind.RESET, None),
    ("cut_after=3", FaultKind.RESET, FaultKind.CUT, None),
    ("size=400000", FaultKind.TOO_LARGE, FaultKind.TOO_LARGE, None),
]


@pytest.fixture(params=ADAPTERS)
async def bench(request: pytest.FixtureRequest, emulator: RunningEmulator) -> AsyncIterator[Bench]:
    """Return each adapter in turn, pointed at the emulator, with a bound on its answers."""
    made = Bench(request.param, emulator)
    made.connect(answer_bytes=ANSWER_BYTES)
    yield made
    await made.aclose()


@BOTH
@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
async def test_the_table_of_faults(bench: Bench, row: tuple[str, FaultKind, FaultKind, int | None], *, stream: bool) -> None:
    """Each way in which a provider fails is told by kind and status, after exactly one request."""
    fault, whole, streamed, status = row
    bench.emulator.emulator.script.add(parse_fault(fault))
    told = await bench.fault(stream=stream)
    assert told.kind is (streamed if stream else whole)
    assert status in (None, told.status)
    assert told.provider == bench.provider.name
    assert bench.emulator.requests() == 1


@BOTH
@pytest.mark.parametrize("fault", ["hang", "drip_ms=60", "delay_ms=5000"])
async def test_patience_ends(bench: Bench, fault: str, *, stream: bool) -> None:
    """Who never answers, answers too late, or sends a byte now and then is left when the call's time is over."""
    told = await bench.fault(f"[[fault:{fault}]]", stream=stream, timeout_s=0.25)
    assert told.kind is FaultKind.TIMEOUT
    assert len(bench.emulator.charges()) == 1


@BOTH
@pytest.mark.parametrize("address", ["http://127.0.0.1:1/v1", "http://nowhere.invalid/v1", "tls"])
async def test_unreachable_is_certainly_free(bench: Bench, address: str, *, stream: bool) -> None:
    """A refused connection, a name without an address and a failed TLS handshake leave nothing sent."""
    away = bench.connect(bench.address.replace("http:", "https:") if address == "tls" else address)
    told = await fault_of(away, bench.call(), stream=stream)
    assert told.kind is FaultKind.UNREACHABLE
    assert "nothing was sent" in told.message
    assert bench.emulator.requests() == 0


async def test_control_without_the_trace_a_reset_looks_free(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: when nobody notes that the request left, a billed call is taken for one that was never sent."""
    monkeypatch.setattr(calling, "CURRENT_SENDING", ContextVar("unread", default=None))
    told = await bench.fault("[[fault:reset]]", stream=False)
    assert told.kind is FaultKind.UNREACHABLE
    assert len(bench.emulator.charges()) == 1
