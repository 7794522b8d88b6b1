"""What is shown of decisions about prompt caches."""

from collections.abc import Sequence

import aigen
from rich.console import Group, RenderableType
from rich.text import Text

from aigenctl.figures import NONE, count, moment, usd
from aigenctl.render import Column, grid, panel


def decisions(found: Sequence[aigen.PrefixDecision], *, more: bool) -> RenderableType:
    """Return one row a decision, latest first."""
    columns = [Column(title) for title in ("Time", "Model", "Service", "Prefix")]
    columns += [Column(title, right=True) for title in ("Tokens", "Marks", "Kept", "Gain")]
    columns += [Column("Decision"), Column("Reason")]
    table = panel("Prompt Cache Decisions", grid(columns, (_row(decision) for decision in found)))
    return Group(table, Text("There are more; --limit 0 lists all.")) if more else table


def _row(decision: aigen.PrefixDecision) -> list[str]:
    model = f"{decision.provider}/{decision.model}"
    kept = f"{decision.ttl_seconds} s" if decision.ttl_seconds else NONE
    gain = usd(decision.expected_gain_usd_nanos) if decision.expected_gain_usd_nanos else NONE
    shown = [moment(decision.create_time), model, decision.service, decision.prefix]
    return [*shown, count(decision.tokens), count(decision.mark_count), kept, gain, decision.decision, decision.reason]
