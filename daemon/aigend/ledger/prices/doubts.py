"""What a price file says and most likely does not mean: names that nothing has, rates that an entry leaves out.

Such a file can be used as it is; what can't be meant at all is refused by `file`.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aigend.config import Problem
from aigend.ledger.prices.file import RATE_KEYS, PriceTable
from aigend.ledger.prices.pricing import PriceEntry, rate_of

_ALIKE = 0.9  # from which two names differ by a slip of the hand; those of versions differ in digits, too
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the names of a price file may mean."""

    models: Mapping[str, Collection[str]]  # by provider whose prices apply; each that may be asked is in it
    agents: Collection[str]
    priced_without: Callable[[str, str], PriceEntry | None]  # the price of a provider's model if the file said nothing


def doubts(table: PriceTable, known: Known, *, path: Path) -> list[Problem]:
    """Return what is to be said of a price file, in the order of its lines.

    Args:
        table: What the file says.
        known: Providers, models and agents that it may speak of.
        path: The file.
    """
    found = (
        Problem(text=f"{key} {text}", key=key, file=path, line=table.lines.get(key))
        for key, text in (*_providers(table, known), *_models(table, known), *_agents(table, known))
    )
    return sorted(found, key=lambda problem: problem.line or 0)


_Doubts = Iterator[tuple[str, str]]  # each a key with what is to be said of it


def _providers(table: PriceTable, known: Known) -> _Doubts:
    for provider in dict.fromkeys(provider for provider, _ in table.models):
        if provider not in known.models:
            near = _near(provider, known.models)
            yield f"providers.{provider}", f"is no provider of these settings: no call has its prices{near}"


def _models(table: PriceTable, known: Known) -> _Doubts:
    for (provider, model), entries in table.models.items():
        if provider not in known.models:
            continue
        key, hidden = f"providers.{provider}.{model}", known.priced_without(provider, model)
        if hidden is not None:
            yield from ((key, said) for entry in entries if (said := _left_out(entry, hidden)))
        elif meant := _slip(model, known.models[provider]):
            yield key, f"is no model that is known: only calls that ask for it have this price{meant}"


def _agents(table: PriceTable, known: Known) -> _Doubts:
    for agent in table.agents:
        if agent not in known.agents:
            yield f"agents.{agent}", f"is no agent: no call has its prices{_near(agent, known.agents)}"


def _left_out(entry: PriceEntry, hidden: PriceEntry) -> str:
    """Say which rates an entry lacks that the price has which it hides, and what follows; empty where it lacks none."""
    missing = [name for name in RATE_KEYS if getattr(hidden, name) is not None and getattr(entry, name) is None]
    if not missing:
        return ""
    unpriced = [name for name in missing if rate_of(entry, name) is None]
    then = f"calls with {' or '.join(unpriced)} have no known price" if unpriced else "the next dearer rate is booked for it"
    return f"lacks {', '.join(missing)}, which {hidden.source} has for this model; an entry stands for all of it, so {then}"


def _slip(name: str, names: Collection[str]) -> str:
    """Say which known name was meant, where one differs by a slip alone."""
    if name in names:
        return ""
    same_version = [other for other in names if _DIGITS.findall(other) == _DIGITS.findall(name)]
    return _near(name, same_version, cutoff=_ALIKE)


def _near(name: str, names: Collection[str], *, cutoff: float = 0.6) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return f" (did you mean {near[0]}?)" if near else ""
