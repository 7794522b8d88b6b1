"""What is shown to a person of where money went: one call's costs, the prompt-cache doctor, archives; the rest is `render`."""

from collections.abc import Iterator, Sequence

import aigen
from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from aigenctl.figures import NONE, count, duration, exact_usd, moment, size, usd
from aigenctl.render import Column, fact_list, grid, harmless, panel


def explanation(found: aigen.Explanation) -> Panel:
    """Return what became of a request: what is said of all of it, then each attempt with its arithmetic."""
    about: list[tuple[str, object]] = [("State", found.state or "nothing was held under this id")]
    if found.create_time is not None:
        about.append(("Made", moment(found.create_time)))
    account = ("requested_model", "service", "agent", "session", "phase", "task")
    about += [(_words(name), value) for name in account if (value := getattr(found, name))]
    about += [(f"Label {key}", value) for key, value in found.labels.items()]
    if found.archive_file:
        about.append(("Archived in", found.archive_file))
    about += [(f"Refused {moment(refusal.time)}", _refusal(refusal)) for refusal in found.refusals]
    about += [(f"Answered {moment(answer.time)}", _free(answer)) for answer in found.free_answers]
    parts: list[RenderableType] = [fact_list(about)]
    for attempt in found.attempts:
        parts += _attempt(attempt)
    return panel(f"Request {found.request_id}", *parts)


def _attempt(attempt: aigen.ExplainedAttempt) -> Iterator[RenderableType]:
    yield fact_list(_attempt_facts(attempt))
    if attempt.arithmetic is not None:
        yield _arithmetic(attempt.arithmetic)
    if attempt.windows:
        columns = [Column("Budget"), Column("Window"), *(Column(title, right=True) for title in ("Spent", "Held", "Limit"))]
        rows = (
            [
                f"{window.budget} {window.key}".strip(),
                window.window,
                usd(window.spent_usd_nanos, beside=window.limit_usd_nanos),
                usd(window.reserved_usd_nanos),
                NONE if window.limit_usd_nanos is None else usd(window.limit_usd_nanos),
            ]
            for window in attempt.windows
        )
        yield grid(columns, rows)


def _attempt_facts(attempt: aigen.ExplainedAttempt) -> list[tuple[str, object]]:
    named = attempt.resolved_model not in ("", attempt.model)
    facts: list[tuple[str, object]] = [
        (f"Attempt {attempt.attempt_number}", f"entry {attempt.entry_id}: {attempt.state or 'unknown word'}"),
        ("Route", f"{attempt.provider}/{attempt.model}" + (f", answered as {attempt.resolved_model}" if named else "")),
        ("Time", f"{moment(attempt.create_time)} to {moment(attempt.update_time)}"),
        ("With the provider", duration(attempt.provider_us)),
        ("Held before", f"{exact_usd(attempt.reserved_usd_nanos)} USD"),
        ("Cost", NONE if attempt.cost_usd_nanos is None else f"{exact_usd(attempt.cost_usd_nanos)} USD"),
    ]
    if attempt.cost_basis is not None:
        facts.append(("Basis", _words(attempt.cost_basis)))
    if attempt.unknown_high_usd_nanos is not None:
        low, high = attempt.unknown_low_usd_nanos or 0, attempt.unknown_high_usd_nanos
        facts.append(("Charged", f"{exact_usd(low)} to {exact_usd(high)} USD; budgets count the most"))
    facts += [("Because", attempt.reason)] if attempt.reason else []
    facts += [("Decided", text) for text in attempt.decisions]
    facts += [("Flags", ", ".join(attempt.flags))] if attempt.flags else []
    facts += [
        (f"Saved by {_words(saving.cause).lower()}", f"{exact_usd(saving.saved_usd_nanos)} USD") for saving in attempt.savings
    ]
    facts += _prefix_facts(attempt)
    if attempt.arithmetic is None and attempt.price_entry_id:
        facts.append(("Price entry", f"{attempt.price_entry_id}; its rates are not shown"))
    return facts


def _prefix_facts(attempt: aigen.ExplainedAttempt) -> Iterator[tuple[str, object]]:
    if attempt.prefix:
        yield "Marked prefix", attempt.prefix
    if attempt.read_prefix:
        yield "Sent again", f"prefix {attempt.read_prefix}"
    if attempt.write_premium_usd_nanos:
        yield "Writes cost", f"{exact_usd(attempt.write_premium_usd_nanos)} USD above ordinary input"


def _arithmetic(found: aigen.CostArithmetic) -> RenderableType:
    """One line a bucket, and the sum; where it is not what is booked, that is said."""
    columns = [Column("Part"), *(Column(title, right=True) for title in ("Count", "Rate", "Nano-dollars"))]
    rows = (
        [
            _words(line.name) + (" (a dearer rate)" if line.stand_in else ""),
            count(line.count),
            _rate(line),
            NONE if line.usd_nanos is None else f"{line.usd_nanos:f}",
        ]
        for line in found.lines
    )
    tier = f", above {count(found.above_tokens)} input tokens" if found.above_tokens else ""
    checked = f", checked on {found.checked_on}" if found.checked_on else ""
    remark = "" if found.booked else " (not what is booked)"
    exact = NONE if found.exact_usd_nanos is None else f"{found.exact_usd_nanos:f}"
    booked = NONE if found.cost_usd_nanos is None else count(found.cost_usd_nanos)
    sentence = f"{found.price_entry_id} from {found.source}{checked}{tier}: {exact} rounds to {booked} nano-dollars{remark}"
    table = grid(columns, rows)
    table.caption = Text(harmless(sentence))
    table.caption_justify = "left"
    return table


def _rate(line: aigen.CostLine) -> str:
    """Return a rate with what it is for: a million tokens, or one request or search."""
    if line.rate is None:
        return NONE
    return f"${line.rate} each" if line.name in ("request", "search") else f"${line.rate}/M"


def _refusal(refusal: aigen.RecentRefusal) -> str:
    by = f" by budget {refusal.budget}" if refusal.budget else ""
    return f"{refusal.reason}{by}: {refusal.text}"


def _free(answer: aigen.FreeAnswer) -> str:
    saved = "" if answer.saved_usd_nanos is None else f", saved {exact_usd(answer.saved_usd_nanos)} USD"
    return f"{_words(answer.cache_outcome)} of {answer.provider}/{answer.model} in {duration(answer.total_us)}{saved}"


def doctor(found: aigen.PromptCacheDiagnosis) -> Panel:
    """Return what writes to prompt caches cost and their reads saved, one row a prefix, with what would help below."""
    columns = [Column("Prefix"), Column("Model")]
    titles = ("Writes", "Tokens", "Cost more", "Reads", "Tokens", "Saved", "Net", "Needed")
    columns += [*(Column(title, right=True) for title in titles), Column("Paid")]
    total = ["Total", "", count(found.write_count), count(found.written_tokens), usd(found.premium_usd_nanos)]
    total += [count(found.read_count), count(found.read_tokens), usd(found.saved_usd_nanos)]
    total += [usd(found.saved_usd_nanos - found.premium_usd_nanos), ""]
    parts: list[RenderableType] = [grid(columns, (_prefix_row(prefix) for prefix in found.prefixes), total=[*total, ""])]
    advice = [(prefix.prefix, text) for prefix in found.prefixes for text in (*prefix.advice, *_decided(prefix))]
    parts += [fact_list(advice)] if advice else []
    parts += [fact_list(("Archived", file) for file in found.archive_files)] if found.archive_files else []
    return panel(f"Prompt caches: {count(found.prefix_count)} prefixes, {count(found.never_read_count)} never read", *parts)


def _decided(prefix: aigen.PromptCachePrefix) -> Sequence[str]:
    return [f"decision: {prefix.decision}"] if prefix.decision else []


def _prefix_row(prefix: aigen.PromptCachePrefix) -> list[str]:
    return [
        prefix.prefix or "not marked",
        f"{prefix.provider}/{prefix.model}",
        count(prefix.write_count),
        count(prefix.written_tokens),
        usd(prefix.premium_usd_nanos),
        count(prefix.read_count),
        count(prefix.read_tokens),
        usd(prefix.saved_usd_nanos),
        usd(prefix.net_usd_nanos),
        NONE if prefix.reads_needed is None else f"{prefix.reads_needed} reads",
        ("yes" if prefix.paid else "no") if prefix.write_count else NONE,
    ]


def archives(found: Sequence[aigen.LedgerArchive]) -> Panel:
    """Return one row a month that was archived."""
    figures = (Column(title, right=True) for title in ("Attempts", "Cost", "Size"))
    columns = [Column("Month"), *figures, Column("File"), Column("State")]
    rows = (
        [
            archive.month,
            count(archive.attempt_count),
            usd(archive.cost_usd_nanos),
            size(archive.size_bytes),
            archive.file,
            "done" if archive.done else "being taken out",
        ]
        for archive in found
    )
    return panel("Archived months", grid(columns, rows))


def _words(value: str | None) -> str:
    return NONE if value is None else value.replace("_", " ").capitalize()
