"""The client's live view of usage."""

from collections.abc import Iterator

from aigen import _call, _convert_live
from aigen._transport import Transport
from aigen.live import UsageView


class Watching(Transport):
    """Watches usage."""

    def watch_usage(self, *, interval: float | None = None, timeout: float | None = None) -> Iterator[UsageView]:
        """Return an iterator that brings a view once an interval, until the daemon drains.

        Args:
            interval: Seconds between two views, 0.2 to 60; None: 1.
            timeout: Patience for all of it in seconds; None: the client's; infinity: without end.
        """
        return self._streamed(_call.WATCH_USAGE, _convert_live.watch_bytes(interval), timeout)
