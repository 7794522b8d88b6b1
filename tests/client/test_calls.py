"""Calls: sent again under one id while that helps, never otherwise; ended in time; clear when there is no daemon."""

import asyncio
import os
import threading
import time
import uuid
from pathlib import Path

import aigen
import grpc
import pytest
from aigen import _call, _channel
from aigen.testing import FakeDaemon

from tests.client.failed import Failed
from tests.fakes import FakeClock


def test_five_lines_from_import_to_answer(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys):
    """The first call needs no more than five lines."""
    monkeypatch.setenv("AIGEN_SOCKET", daemon.socket)
    daemon.answer("Hello!", cost_usd_nanos=3_150_000)
    code = aigen.__doc__.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 5
    exec(code, {})  # noqa: S102 - the documentation's own lines
    assert capsys.readouterr().out == "Hello! 0.003150000\n"


def test_request_id_is_a_new_uuid_for_each_call(daemon: FakeDaemon, client: aigen.Client):
    """Without an id of the caller's, each call has its own UUID, which begins with the time and comes back in the answer."""
    answers = [client.complete("hi") for _ in range(3)]
    ids = [call.request_id for call in daemon.calls]
    assert len(set(ids)) == 3
    assert all(str(uuid.UUID(given)) == given and uuid.UUID(given).version == 7 for given in ids)
    assert all(uuid.UUID(given).variant == uuid.RFC_4122 for given in ids)
    assert abs((uuid.UUID(ids[0]).int >> 80) / 1e3 - time.time()) < 60
    assert [answer.request_id for answer in answers] == ids


def test_forked_processes_do_not_share_request_ids():
    """Ids made after a fork differ between parent and child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, _call.new_request_id().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 99).decode() != _call.new_request_id()
    os.close(reading)
    os.close(writing)


def test_own_request_id_travels(daemon: FakeDaemon, client: aigen.Client):
    """An id given by the caller, as text or UUID, is the one that is sent."""
    given = uuid.uuid4()
    client.complete("hi", request_id=given)
    client.complete("hi", request_id="mine-1")
    assert [call.request_id for call in daemon.calls] == [str(given), "mine-1"]


@pytest.mark.parametrize("given", ["", " a", "ä", "a\nb", "x" * 129])
def test_request_id_that_cannot_travel_is_refused(client: aigen.Client, given: str):
    """An id that metadata can't carry is refused by name."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        client.complete("hi", request_id=given)
    assert caught.value.field == "request_id"


def test_unavailable_is_sent_again_under_the_same_id(daemon: FakeDaemon, client: aigen.Client):
    """A connection that breaks before the answer is tried again with the same bytes and the same request id."""
    daemon.fail("", code=grpc.StatusCode.UNAVAILABLE, times=2)
    assert client.complete("hi").text == "echo: hi"
    assert len(daemon.calls) == 3
    assert len({(call.request_id, call.payload) for call in daemon.calls}) == 1


def test_draining_is_waited_out(daemon: FakeDaemon, client: aigen.Client):
    """More DRAINING answers than gRPC itself retries do not reach the caller."""
    daemon.fail("DRAINING", times=5)
    assert client.complete("hi").text == "echo: hi"
    assert len({call.request_id for call in daemon.calls}) == 1
    assert len(daemon.calls) == 6


async def test_draining_is_waited_out_by_the_async_client(daemon: FakeDaemon):
    """The async client waits out a drain as the sync one does."""
    daemon.fail("DRAINING", times=5)
    async with aigen.AsyncClient(daemon.socket) as client:
        assert (await client.complete("hi")).text == "echo: hi"
        daemon.fail("DRAINING", times=5)
        assert (await client.stream("hi").result()).text == "echo: hi"
    assert len(daemon.calls) == 12


def test_draining_ends_with_the_callers_patience(daemon: FakeDaemon, client: aigen.Client):
    """A drain longer than the caller's patience ends in DaemonUnavailable with the reason."""
    daemon.fail("DRAINING", times=50)
    with pytest.raises((aigen.DaemonUnavailable, aigen.DeadlineExceeded)):
        client.complete("hi", timeout=0.3)


def test_pushback_stops_every_retry(daemon: FakeDaemon, client: aigen.Client):
    """A provider that is down costs one run of the handler, because the daemon's pushback is obeyed."""
    daemon.fail("PROVIDER_UNAVAILABLE")
    with pytest.raises(aigen.ProviderUnavailable):
        client.complete("hi")
    assert len(daemon.calls) == 1


def test_without_pushback_the_handler_runs_again(daemon: FakeDaemon, client: aigen.Client):
    """Control: the same failure without pushback is sent again."""
    daemon.fail("", code=grpc.StatusCode.UNAVAILABLE)
    client.complete("hi")
    assert len(daemon.calls) == 2


def test_a_drain_is_sent_once(daemon: FakeDaemon, client: aigen.Client):
    """Drain is never repeated: the second one would stop the restarted daemon."""
    daemon.fail("", code=grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(aigen.DaemonUnavailable):
        client.drain()
    assert len(daemon.calls) == 1


def test_restart_of_the_daemon_is_not_seen(daemon: FakeDaemon, client: aigen.Client):
    """Calls made while the daemon is away are answered once it is back."""
    client.complete("before")
    daemon.stop()
    threading.Timer(0.3, daemon.start).start()
    assert client.complete("after").text == "echo: after"


def test_a_daemon_that_stays_away_is_named_within_the_restart_timeout(daemon: FakeDaemon):
    """A call does not wait out its whole patience for a daemon that has gone."""
    with aigen.Client(daemon.socket, timeout=60, restart_timeout=0.1) as client:
        client.complete("before")
        daemon.stop()
        with pytest.raises(aigen.DaemonUnavailable, match=r"no aigend was found within .*no such file|nobody listens") as caught:
            client.complete("after", request_id="x")
    assert caught.value.metadata["paths"] == daemon.socket
    assert caught.value.request_id == "x"


def test_deadline_ends_a_call(daemon: FakeDaemon, client: aigen.Client):
    """A call that takes longer than its timeout ends in DeadlineExceeded, which is a TimeoutError."""
    daemon.hang()
    with pytest.raises(TimeoutError) as caught:
        client.complete("hi", timeout=0.1)
    assert type(caught.value) is aigen.DeadlineExceeded
    assert "timeout of 0.1 s passed" in str(caught.value)


def test_deadline_ends_a_stream(daemon: FakeDaemon, client: aigen.Client):
    """A stream that takes longer than its timeout ends likewise, with the timeout in its text."""
    daemon.hang()
    with pytest.raises(aigen.DeadlineExceeded, match=r"timeout of 0\.1 s passed"), client.stream("hi", timeout=0.1) as stream:
        stream.result()


async def test_deadline_ends_an_async_call(daemon: FakeDaemon):
    """The async client ends a call in time as well; the client's own timeout is the default."""
    daemon.hang()
    async with aigen.AsyncClient(daemon.socket, timeout=0.1) as client:
        with pytest.raises(aigen.DeadlineExceeded, match=r"timeout of 0\.1 s passed"):
            await client.complete("hi")
        daemon.hang()
        with pytest.raises(aigen.DeadlineExceeded, match=r"timeout of 0\.15 s passed"):
            await client.stream("hi", timeout=0.15).result()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "1", True])
def test_timeout_must_be_above_zero(daemon: FakeDaemon, client: aigen.Client, timeout):
    """A timeout that can't be waited for is refused by name before anything is sent."""
    for call in (client.complete, client.stream, client.estimate):
        with pytest.raises(aigen.InvalidRequest) as caught:
            call("hi", timeout=timeout)
        assert caught.value.field == "timeout"
    with pytest.raises(aigen.InvalidRequest, match="connect_timeout"):
        aigen.Client(daemon.socket, connect_timeout=timeout)
    assert daemon.calls == []


def test_infinite_timeout_is_allowed(client: aigen.Client):
    """Infinity means without end."""
    assert client.complete("hi", timeout=float("inf")).text == "echo: hi"


def test_missing_daemon_is_named_with_its_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a daemon the error names every path that was tried, why it failed, and what to do."""
    monkeypatch.delenv("AIGEN_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    client = aigen.Client(connect_timeout=0.05)
    with pytest.raises(aigen.DaemonUnavailable) as caught:
        client.complete("hi")
    assert f"{tmp_path}/aigen/aigend.sock: no such file" in str(caught.value)
    assert "/run/aigend/aigend.sock" in str(caught.value)
    assert "aigend serve" in str(caught.value)


async def test_daemon_that_starts_late_is_waited_for(tmp_path: Path):
    """The first call waits for a daemon that is about to start."""
    daemon = FakeDaemon(tmp_path / "late.sock")
    async with aigen.AsyncClient(daemon.socket) as client:
        call = asyncio.create_task(client.complete("hi"))
        await asyncio.sleep(0)  # it has looked once
        with daemon:
            assert (await call).text == "echo: hi"


def test_closed_client_says_so(client: aigen.Client):
    """A call on a closed client is refused clearly; closing twice is harmless."""
    client.complete("hi")
    client.close()
    client.close()
    with pytest.raises(aigen.ClientClosed, match="this Client is closed"):
        client.complete("hi")
    assert "closed='is closed'" in repr(client)


def test_call_under_way_ends_when_the_client_is_closed(daemon: FakeDaemon, client: aigen.Client):
    """A thread that waits for an answer learns that the client was closed."""
    daemon.hang()
    threading.Thread(target=lambda: (daemon.wait_for_calls(1), client.close())).start()
    with pytest.raises(aigen.ClientClosed):
        client.complete("hi")


async def test_async_call_under_way_ends_when_the_client_is_closed(daemon: FakeDaemon):
    """A task that waits for an answer gets ClientClosed, not the cancellation that gRPC makes of it."""
    daemon.hang()
    client = aigen.AsyncClient(daemon.socket)
    call = asyncio.create_task(client.complete("hi"))
    await asyncio.to_thread(daemon.wait_for_calls, 1)
    await client.close()
    with pytest.raises(aigen.ClientClosed):
        await call


async def test_cancelled_task_is_cancelled(daemon: FakeDaemon):
    """Cancelling a task cancels its call and nothing else."""
    daemon.hang().hang()
    async with aigen.AsyncClient(daemon.socket) as client:
        call = asyncio.create_task(client.complete("hi"))
        stream = asyncio.create_task(client.stream("hi").result())
        await asyncio.to_thread(daemon.wait_for_calls, 2)
        call.cancel()
        stream.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(asyncio.CancelledError):
            await stream
        assert (await client.complete("again")).text == "echo: again"


def test_async_client_outlives_its_first_loop(daemon: FakeDaemon):
    """A client made at module level works in one asyncio.run after another."""
    client = aigen.AsyncClient(daemon.socket)
    assert [asyncio.run(client.complete(text)).text for text in "ab"] == ["echo: a", "echo: b"]


async def test_async_client_belongs_to_one_open_loop(daemon: FakeDaemon):
    """A second loop that runs beside the first is told to make its own client."""
    async with aigen.AsyncClient(daemon.socket) as client:
        await client.complete("hi")
        with pytest.raises(aigen.ClientClosed, match="another event loop"):
            await asyncio.to_thread(asyncio.run, client.complete("hi"))


def test_client_of_the_parent_is_refused_in_a_forked_child(daemon: FakeDaemon):
    """A child process is told to make its own client instead of hanging in the parent's connection."""
    client = aigen.Client(daemon.socket)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            client.complete("hi")
        except aigen.ClientClosed as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert f"before a fork, in process {os.getpid()}" in os.read(reading, 999).decode()
    assert client.complete("hi").text == "echo: hi"
    client.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("kind", [aigen.Client, aigen.AsyncClient])
def test_a_forsaken_client_tells_why_and_keeps_nothing_running(daemon: FakeDaemon, kind: type[aigen.Client]):
    """What the child of a fork does with the parent's clients: no connection is torn down, no lock is waited for."""
    client = kind(daemon.socket)
    client._forsake()
    with pytest.raises(aigen.ClientClosed, match="make a new one in the child"):
        client._check_open()
    assert client._channel is None


def test_threads_share_a_client(daemon: FakeDaemon, client: aigen.Client):
    """Many threads call at once through one client and each gets its own answer."""
    answers: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: answers.__setitem__(n, client.complete(str(n)).text)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: f"echo: {n}" for n in range(16)}


def _recovery(clock: FakeClock, path: Path, **settings) -> _call.Recovery:
    finder = _channel.Finder((str(path),), clock.monotonic)
    return _call.Recovery(
        finder, _call.COMPLETE, request_id="i", **{"deadline": 100.0, "timeout": 2.5, "restart_timeout": 10.0, **settings}
    )


def test_pauses_grow_and_end_with_the_restart_timeout(tmp_path: Path):
    """Pauses double up to half a second; a daemon that is gone longer than the restart timeout is given up."""
    clock = FakeClock()
    recovery = _recovery(clock, tmp_path / "none.sock")
    lost = Failed(grpc.StatusCode.UNAVAILABLE)
    assert [recovery.pause_after(lost) for _ in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    clock.advance(10.0)
    with pytest.raises(aigen.DaemonUnavailable, match="within 10 s"):
        recovery.pause_after(lost)


def test_pause_never_outlasts_the_deadline(tmp_path: Path):
    """Where the next pause would pass the caller's deadline the error is told at once."""
    with pytest.raises(aigen.DaemonUnavailable):
        _recovery(FakeClock(), tmp_path / "none.sock", deadline=0.04).pause_after(Failed(grpc.StatusCode.UNAVAILABLE))


@pytest.mark.parametrize(("pushback", "again"), [("-1", False), ("nonsense", False), ("20", True)])
def test_pushback_is_read_as_grpc_reads_it(tmp_path: Path, *, pushback: str, again: bool):
    """A negative or unreadable pushback forbids another try, a positive one does not."""
    recovery = _recovery(FakeClock(), tmp_path / "none.sock")
    failed = Failed(grpc.StatusCode.UNAVAILABLE, (("grpc-retry-pushback-ms", pushback),))
    if again:
        assert recovery.pause_after(failed) > 0
    else:
        with pytest.raises(aigen.DaemonUnavailable):
            recovery.pause_after(failed)


def test_answer_under_way_is_not_asked_for_again(tmp_path: Path):
    """A stream that broke after its first piece is not sent again, because the pieces would come twice."""
    with pytest.raises(aigen.DaemonUnavailable):
        _recovery(FakeClock(), tmp_path / "none.sock").pause_after(Failed(grpc.StatusCode.UNAVAILABLE), answering=True)


def test_deadline_with_a_daemon_that_is_there_stays_a_deadline(daemon: FakeDaemon, tmp_path: Path):
    """Only where nobody listens does the end of patience mean that the daemon is missing."""
    late = Failed(grpc.StatusCode.DEADLINE_EXCEEDED)
    with pytest.raises(aigen.DeadlineExceeded, match=r"timeout of 2\.5 s passed"):
        _recovery(FakeClock(), Path(daemon.socket)).pause_after(late)
    with pytest.raises(aigen.DaemonUnavailable):
        _recovery(FakeClock(), tmp_path / "none.sock").pause_after(late)
