"""What a reload puts in force, and what waits for a restart."""

import pytest
from aigend.config import Settings
from aigend.config.keys import leaves
from aigend.config.reloading import WAIT_FOR_RESTART, reloaded


def test_ordinary_settings_change_at_once():
    """A limit that nothing was built out of is in force after the reload."""
    wanted = Settings(limits={"total": 7})
    assert reloaded(Settings(), wanted) == (wanted, ())


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"cache": {"memory_size_bytes": 1_000}}, "cache.memory_size_bytes"), ({"log": {"level": "debug"}}, "log.level")],
)
def test_what_was_built_waits(changes: dict, key: str):
    """The running value stays in force and the key is named; everything beside it changes."""
    settings, waiting = reloaded(Settings(), Settings(limits={"total": 7}, **changes))
    assert waiting == (key,)
    assert settings == Settings(limits={"total": 7})


def test_paths_wait():
    """A socket can't move while it is served."""
    settings, waiting = reloaded(Settings(), Settings(socket="/run/other.sock"))
    assert (settings.socket, waiting) == (None, ("socket",))


def test_all_keys_exist():
    """Every key that waits is a setting."""
    assert set(WAIT_FOR_RESTART) <= {".".join(path) for path, _ in leaves(Settings().model_dump())}
