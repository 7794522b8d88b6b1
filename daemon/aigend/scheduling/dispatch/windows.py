"""Announced requests that wait for the others: by announcement, and in it by who may leave together."""

from collections import OrderedDict
from collections.abc import Callable

from aigend.scheduling.dispatch.siblings import Siblings
from aigend.scheduling.dispatch.waiting import Waiting

_Group = tuple[str, str, bytes]  # provider, model, prefix


class Window:
    """Those of one announcement who may leave together and have come so far.

    Args:
        siblings: The announcement.
        group: What they have in common.
        closes_at: When it closes at the latest, monotonic clock.
        on_empty: Told when the last of them has left.
    """

    def __init__(self, siblings: Siblings, group: _Group, *, closes_at: float, on_empty: "Callable[[Window], None]") -> None:
        self.siblings = siblings
        self.group = group
        self.closes_at = closes_at
        self._on_empty = on_empty
        self._members: OrderedDict[Waiting, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._members)

    def add(self, waiting: Waiting) -> None:
        """Let somebody wait here."""
        waiting.place = self
        self._members[waiting] = None

    def remove(self, waiting: Waiting) -> None:
        """Take somebody out."""
        del self._members[waiting]
        if not self._members:
            self._on_empty(self)

    def close(self) -> list[Waiting]:
        """Let everybody out and return who has not left already; with the last one the window is gone."""
        members = list(self._members)
        for waiting in members:
            waiting.leave_place()
        return [waiting for waiting in members if not waiting.left]


class Windows:
    """All open windows; each has members."""

    def __init__(self) -> None:
        self._open: dict[Siblings, dict[_Group, Window]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def next_close(self) -> float:
        """When the next one closes; infinity where none is open."""
        return min((window.closes_at for window in self._all()), default=float("inf"))

    def of(self, siblings: Siblings, group: _Group, *, closes_at: float) -> Window:
        """Return the window of a group, a new one where there is none; somebody must be added."""
        groups = self._open.setdefault(siblings, {})
        window = groups.get(group)
        if window is None:
            window = groups[group] = Window(siblings, group, closes_at=closes_at, on_empty=self._forget)
        return window

    def is_open(self, siblings: Siblings, group: _Group) -> bool:
        """Return whether there is a window of that group."""
        return group in self._open.get(siblings, ())

    def of_all(self, siblings: Siblings) -> list[Window]:
        """Return all open windows of an announcement."""
        return list(self._open.get(siblings, {}).values())

    def due(self, now: float) -> list[Window]:
        """Return the windows whose time is over."""
        return [window for window in self._all() if window.closes_at <= now]

    def waiting_for(self, provider: str) -> int:
        """Return how many wait in windows for one provider."""
        return sum(len(window) for window in self._all() if window.group[0] == provider)

    def _all(self) -> list[Window]:
        return [window for groups in self._open.values() for window in groups.values()]

    def _forget(self, window: Window) -> None:
        groups = self._open[window.siblings]
        del groups[window.group]
        if not groups:
            del self._open[window.siblings]
