"""Work that operations of a group leave to its end, where it is done once for all of them, within their transaction."""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection, list[Any]], None]


class DeferringConnection(sqlite3.Connection):
    """A connection whose group takes work until it ends.

    Attributes:
        due: What each kind of work is to be done for; None outside a group, where nothing is put off.
    """

    due: dict[Work, list[Any]] | None = None

    def begin_group(self) -> None:
        """Begin to put work off."""
        self.due = {}

    def end_group(self) -> None:
        """Do all that was put off; the group's transaction is still open."""
        for work in tuple(self.due or ()):
            catch_up(self, work)
        self.due = None

    def noted(self) -> dict[Work, list[Any]] | None:
        """Return what is due as it stands, for an operation that may be undone."""
        return None if self.due is None else {work: items.copy() for work, items in self.due.items()}


def defer(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection, list[T]], None], item: T) -> None:
    """Have work done for one more item when the group ends; at once where there is no group."""
    due = connection.due if isinstance(connection, DeferringConnection) else None
    if due is None:
        work(connection, [item])
    else:
        due.setdefault(work, []).append(item)


def catch_up(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection, list[T]], None]) -> None:
    """Do what was put off of one kind of work, for those who read what it writes."""
    if isinstance(connection, DeferringConnection) and connection.due:
        items = connection.due.pop(work, None)
        if items:
            work(connection, items)
