"""What a service manager hears from the real process, on a real datagram socket."""

import contextlib
import signal
import time

import pytest

from tests.e2e.conftest import MakeDaemon

pytestmark = pytest.mark.not_on_floor


def test_manager_hears_of_the_whole_life(make_daemon: MakeDaemon):
    """READY with a status and the pid, pings within half the watchdog's time, RELOADING, STOPPING with more time for the drain."""
    daemon = make_daemon(environ={"WATCHDOG_USEC": "400000"})
    daemon.start(ready=False)
    ready = daemon.hear("READY=1")
    assert f"STATUS=serving {daemon.socket}" in ready
    assert f"MAINPID={daemon.pid}" in ready
    daemon.hear("WATCHDOG=1")
    began = time.monotonic()
    for _ in range(3):
        daemon.hear("WATCHDOG=1", within_s=1)
    assert time.monotonic() - began < 3 * 0.4
    daemon.signal(signal.SIGHUP)
    daemon.hear("RELOADING=1")
    daemon.hear("READY=1")
    daemon.signal(signal.SIGTERM)
    assert "STATUS=draining" in daemon.hear("STOPPING=1")
    assert daemon.wait() == 0


def test_stopped_process_misses_its_pings(make_daemon: MakeDaemon):
    """A process that does not run does not ping: the manager notices what hangs. Continued, it serves and pings again."""
    daemon = make_daemon(environ={"WATCHDOG_USEC": "200000"}).start()
    daemon.hear("WATCHDOG=1")
    daemon.signal(signal.SIGSTOP)
    with contextlib.suppress(AssertionError):
        daemon.hear("WATCHDOG=1", within_s=0.1)  # one may have been on its way
    with pytest.raises(AssertionError, match="did not say"):
        daemon.hear("WATCHDOG=1", within_s=0.6)
    daemon.signal(signal.SIGCONT)
    daemon.hear("WATCHDOG=1", within_s=2)
    assert daemon.client().complete("still there", model="gpt-4o-mini").text


def test_manager_that_does_not_listen_is_no_reason_to_fail(make_daemon: MakeDaemon):
    """A NOTIFY_SOCKET at which nobody listens changes nothing."""
    daemon = make_daemon()
    daemon.start(ready=False, NOTIFY_SOCKET=str(daemon.folder / "nobody"))
    client = daemon.client()
    assert client.status().process_id == daemon.pid
    assert daemon.stop() == 0
