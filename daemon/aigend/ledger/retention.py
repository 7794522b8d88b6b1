"""How long the ledger keeps charges one by one: the schedule on which months that are old enough are archived."""

from collections.abc import Callable
from pathlib import Path

import structlog

from aigend.clock import Clock
from aigend.config import LedgerSettings
from aigend.errors import DomainError
from aigend.ledger.archives.archive import Archiver
from aigend.ledger.archives.file import ArchiveDamaged
from aigend.ledger.archives.rows import Archive, month_after, month_of
from aigend.ledger.ledger import Ledger
from aigend.storage.files import StorageRefused

FIRST_AFTER_S = 60.0  # a start has other things to do
EVERY_S = 6 * 3_600.0

_log = structlog.get_logger(__name__)


def archive_directory(settings: LedgerSettings, state_directory: Path) -> Path:
    """Return where archives go."""
    return settings.archive_directory or state_directory / "archive"


class Retention:
    """Archives months of one ledger when their time has come.

    Args:
        ledger: The ledger.
        settings: Returns the settings in force.
        clock: Tells the time, and waits.
    """

    def __init__(self, ledger: Ledger, *, settings: Callable[[], LedgerSettings], clock: Clock) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock

    async def keep(self) -> None:
        """Look every few hours, for as long as it runs; what can't be done is said and tried again."""
        pause = FIRST_AFTER_S
        while True:
            await self._clock.sleep(pause)
            pause = EVERY_S
            try:
                await self.once()
            except (DomainError, ArchiveDamaged, StorageRefused, OSError) as error:
                _log.error("ledger_archive_failed", text=str(error))

    async def once(self) -> list[Archive]:
        """Archive what is old enough, and finish what was begun; return what was archived."""
        settings = self._settings()
        directory = archive_directory(settings, self._ledger.path.parent)
        archiver = Archiver(path=self._ledger.path, directory=directory, write=self._ledger.write, clock=self._clock)
        if settings.retention_months is None:
            done = await archiver.resume()
        else:
            done = await archiver.run(month_after(month_of(self._clock.time()), by=-settings.retention_months))
        for archive in done:
            _log.info("ledger_archived", month=archive.month, file=archive.file, attempts=archive.attempt_count)
        return done
