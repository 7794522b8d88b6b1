"""What a budget's selector means by its names of providers, models and agents, and which of them nobody can mean.

A call is booked under a provider and the id that the provider uses; people say it as `provider/model`, id or alias, as in requests.
Counting is the ledger's, which compares what is booked and knows no names.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from aigend.config import Problem, SettingsError, SettingsSections
from aigend.config.rules import BUILT_IN_PROVIDERS
from aigend.routing.catalog import Catalog

_NEAREST = 3
_MOST_NAMED = 40  # names in one error
_SHOWN = 80  # characters of a value


class Fault(NamedTuple):
    """A name in a selector that no call can carry."""

    key: str  # of the selector
    value: str
    allowed: str


class Selectors:
    """Reads selectors with the names that are known.

    Args:
        catalog: Models and agents.
        providers: Names of providers that are configured or have settings; those of the catalog and those that need no settings
            are known as well.
    """

    def __init__(self, catalog: Catalog, *, providers: Collection[str]) -> None:
        self._catalog = catalog
        self._providers = {*providers, *BUILT_IN_PROVIDERS, *(model.provider for model in catalog.list())}

    def meaning(self, selector: Mapping[str, str]) -> dict[str, str]:
        """Return a selector in the words that calls are booked in; a name that is not known stays as it is.

        `provider/model` selects both, an id or alias the model at whatever provider.
        """
        booked = self._booked(selector.get("model", ""))
        if booked is None:
            return dict(selector)
        provider, model = booked
        if not provider:
            return {**selector, "model": model}
        if selector.get("provider", provider) != provider:
            return dict(selector)  # it contradicts itself: `faults` says so
        return {**selector, "provider": provider, "model": model}

    def faults(self, selector: Mapping[str, str]) -> Iterator[Fault]:
        """Yield the names because of which a selector would never match."""
        provider, agent, model = (selector.get(key) for key in ("provider", "agent", "model"))
        if provider is not None and provider not in self._providers:
            yield Fault("provider", provider, _one_of("a provider", provider, self._providers))
        if agent and agent not in self._catalog.agents:
            yield Fault("agent", agent, _one_of("an agent", agent, self._catalog.agents))
        if model is not None:
            yield from self._model_faults(model, provider)

    def doubts(self, budget: str, selector: Mapping[str, str]) -> Iterator[str]:
        """Yield a sentence for each name because of which a budget that is in force holds for nothing."""
        for fault in self.faults(selector):
            shown = repr(fault.value[:_SHOWN])
            yield f"budget {budget} holds for nothing: {fault.key} is {shown} in its selector; allowed: {fault.allowed}"

    def _model_faults(self, name: str, provider: str | None) -> Iterator[Fault]:
        booked = self._booked(name)
        if booked is None:
            known = [word for model in self._catalog.list() for word in (model.id, model.full_name, *model.aliases)]
            near = _hint(difflib.get_close_matches(name, known, n=_NEAREST))
            allowed = f"a model of the catalog by id or alias{near}, or any model of a known provider as provider/model"
            yield Fault("model", name, allowed)
        elif booked[0] and provider not in (None, booked[0]):
            yield Fault("model", name, f"a model of provider {provider}, which this selector names too")

    def _booked(self, name: str) -> tuple[str, str] | None:
        """Return the provider, empty for any, and the id under which calls to a model are booked; None where it is not known."""
        model = self._catalog.listed(name)
        if model is not None:
            return (model.provider if name == model.full_name else "", model.id)
        provider, _, rest = name.partition("/")
        return (provider, rest) if rest and provider in self._providers else None


def check_selectors(settings: SettingsSections, selectors: Selectors) -> None:
    """Refuse budgets of the settings that would hold for nothing because of a name.

    Raises:
        SettingsError: A provider, model or agent is not known; each by its key.
    """
    problems = [
        _problem(f"budgets.{index}.selector.{fault.key}", fault)
        for index, budget in enumerate(settings.budgets)
        for fault in selectors.faults(budget.selector)
    ]
    if problems:
        raise SettingsError(problems)


def _problem(key: str, fault: Fault) -> Problem:
    return Problem(
        text=f"{key} is {fault.value[:_SHOWN]!r}; allowed: {fault.allowed}", key=key, value=fault.value, allowed=fault.allowed
    )


def _one_of(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    listed = ", ".join(names[:_MOST_NAMED]) + (" and more" if len(names) > _MOST_NAMED else "")
    return f"{what} that is known: {listed}{_hint(difflib.get_close_matches(name, names, n=_NEAREST))}"


def _hint(near: list[str]) -> str:
    return f" (did you mean {', '.join(near)}?)" if near else ""
