"""`aigenctl presets`: the task presets that come with the client. No daemon is asked."""

import aigen
import typer

from aigenctl import render
from aigenctl.columns import print_csv
from aigenctl.machine import as_json
from aigenctl.options import CsvOption, JsonOption, one_form


def presets(*, csv: CsvOption = False, json_text: JsonOption = False) -> None:
    """Show the task presets: what each is for, which models it asks for, and its limits."""
    one_form(csv=csv, json_text=json_text)
    found = list(aigen.PRESETS.values())
    if json_text:
        typer.echo(as_json({"presets": [{**_fields(preset), "models": preset.models} for preset in found]}))
    elif csv:
        print_csv(aigen.Preset, found)
    else:
        render.show(render.presets(found))


def _fields(preset: aigen.Preset) -> dict[str, object]:
    names = ("name", "description", "system", "tier", "providers", "options")
    return {name: getattr(preset, name) for name in names}
