"""What is shown to a person of corrections, prices and savings; the rest is `render`."""

from collections.abc import Sequence

import aigen
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from aigenctl.figures import NONE, count, moment, usd
from aigenctl.render import Column, fact_list, grid, panel, per_million


def repricing(found: aigen.Repricing) -> Panel:
    """Return what computing costs anew would change, one row a model."""
    about: list[tuple[str, object]] = [
        ("Entries", f"{count(found.examined_count)} looked at, {count(found.changed_count)} to be corrected"),
        ("Kept", f"{count(found.kept_count)} billed by the provider or of a doubted usage"),
        ("Without a price", count(found.unpriced_count)),
    ]
    columns = [Column("Provider"), Column("Model"), *(Column(title, right=True) for title in ("Entries", "Before", "After"))]
    rows = (
        [model.provider, model.model, count(model.changed_count), usd(model.before_usd_nanos), usd(model.after_usd_nanos)]
        for model in found.models
    )
    total = ["Total", "", count(found.changed_count), usd(found.before_usd_nanos), usd(found.after_usd_nanos)]
    about += [("Archived", f"{file}: not looked at") for file in found.archive_files]
    return panel(
        "Repricing",
        fact_list(about),
        grid(
            [*columns, Column("Price")],
            ([*row, model.price_entry_id] for row, model in zip(rows, found.models, strict=True)),
            total=[*total, ""],
        ),
    )


def prices(found: Sequence[aigen.ListedPrice], *, more: bool) -> RenderableType:
    """Return one row a price, in dollars for a million tokens."""
    columns = [Column("Provider"), Column("Model"), Column("Since")]
    columns += [Column(title, right=True) for title in ("Input", "Output", "Cache read", "Write 5m", "Write 1h")]
    columns += [Column("Source"), Column("In force")]
    table = panel("Prices ($ per million tokens)", grid(columns, (_price_row(price) for price in found)))
    return Group(table, Text("There are more; --limit 0 lists all.")) if more else table


def _price_row(listed: aigen.ListedPrice) -> list[str]:
    since = moment(listed.valid_from_time)[:10] if listed.valid_from_time else NONE
    buckets = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    source = listed.price.source + (" (stale)" if listed.stale else "")
    return [
        listed.provider,
        listed.model,
        since,
        *(per_million(listed.price, bucket) for bucket in buckets),
        source,
        "yes" if listed.in_force else "no",
    ]


def savings(rows: Sequence[tuple[str, Sequence[int | None]]], total: Sequence[int | None], *, titles: Sequence[str]) -> Panel:
    """Return one row a day or hour: cost, all that was saved, and each cause."""
    columns = [Column("Time"), *(Column(title.replace("_", " ").capitalize(), right=True) for title in titles)]
    table = grid(
        columns,
        ([time, *(usd(amount) for amount in amounts)] for time, amounts in rows),
        total=["Total", *(usd(amount) for amount in total)],
    )
    return panel("Savings", table)
