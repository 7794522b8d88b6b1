"""Which settings a reload can put in force, and which wait for a restart because something was built out of them."""

from aigend.config.keys import leaves
from aigend.config.sections import Settings

WAIT_FOR_RESTART = (
    "socket",
    "state_directory",
    "cache_directory",
    "cache.max_size_bytes",
    "cache.memory_size_bytes",
    "cache.compression",
    "limits.answer_bytes",
    "limits.detached",
    "limits.stream_buffer_bytes",
    "limits.repeat_index_bytes",
    "ledger.reply_ttl_s",
    "ledger.reply_max_bytes",
    "drain.provider_timeout_s",
    "inbox.directory",
    "telemetry.traces",
    "telemetry.metrics",
    "telemetry.sample_ratio",
    "log.level",
    "log.format",
)


def reloaded(running: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings that a reload puts in force, and the keys whose new values wait for a restart."""
    before, after = (dict(_flat(settings)) for settings in (running, wanted))
    waiting = tuple(key for key in WAIT_FOR_RESTART if before[key] != after[key])
    for key in waiting:
        wanted = _with(wanted, key, running)
    return wanted, waiting


def _flat(settings: Settings) -> list[tuple[str, object]]:
    return [(".".join(path), value) for path, value in leaves(settings.model_dump())]


def _with(settings: Settings, key: str, source: Settings) -> Settings:
    """Return the settings with one value taken from others."""
    name, _, inner = key.partition(".")
    if not inner:
        return settings.model_copy(update={name: getattr(source, name)})
    section = getattr(settings, name).model_copy(update={inner: getattr(getattr(source, name), inner)})
    return settings.model_copy(update={name: section})
