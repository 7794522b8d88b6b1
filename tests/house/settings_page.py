"""Write docs/settings.md out of the settings themselves: `python -m tests.house.settings_page > docs/settings.md`."""

import json
import sys
from collections.abc import Iterator

from aigend.config.keys import Key, Kind, keys

INTRODUCTION = """\
# Settings

`aigend serve --config FILE` reads one YAML file; without the option it reads `$AIGEND_CONFIG`, or
`$XDG_CONFIG_HOME/aigen/aigend.yaml` where that exists. A variable of the environment wins over the file. An unknown key, a value
out of bounds or a malformed file ends the start with code 78 and names the line, the value, what is allowed, and the nearest key.
`aigend config default` prints all of this as a commented file, `aigend config check` says whether settings can be used,
`aigend config show` prints what a start would take and from where, and `aigenctl config show` asks the daemon that runs.

Durations may carry a unit (`250ms`, `30s`, `5min`, `24h`, `7d`), sizes too (`500MB`, `2GiB`). Lists and maps as a whole are given
as JSON in a variable. `<name>` stands for a name of your choice.

This page is made from the settings by `python -m tests.house.settings_page`.
"""


def page() -> str:
    """Return the whole page."""
    sections = [key for key in keys() if key.section is not None]
    single = [key for key in keys() if len(key.path) == 1 and key.section is None]
    parts = [INTRODUCTION, *_table("General", "", single)]
    for section in sections:
        below = [key for key in keys() if _is_inside(key, section)]
        about = (section.section.__doc__ or "").strip() if section.section else ""
        parts += _table(f"`{section.dotted}`", about, below)
    return "\n".join(parts)


def _is_inside(key: Key, section: Key) -> bool:
    depth = len(section.path) + (2 if section.kind is Kind.SECTIONS_BY_NAME else 1)
    return key.path[: len(section.path)] == section.path and len(key.path) == depth and key.section is None


def _table(title: str, about: str, rows: list[Key]) -> Iterator[str]:
    yield f"## {title}\n"
    if about:
        yield f"{about}\n"
    yield "| key | default | variable | meaning |\n|---|---|---|---|"
    yield "".join(f"| `{key.dotted}` | {_default(key)} | {_variable(key)} | {key.field.description} |\n" for key in rows)


def _default(key: Key) -> str:
    if key.field.is_required():
        return "required"
    value = key.field.get_default(call_default_factory=True)
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _variable(key: Key) -> str:
    listed = any(outer.kind is Kind.SECTION_LIST and key.path[: len(outer.path)] == outer.path for outer in keys())
    return "" if listed else f"`{key.variable}`"


if __name__ == "__main__":
    sys.stdout.write(page())
