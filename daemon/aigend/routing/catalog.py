"""The model catalog: which models there are, under which names, and what an agent stands for.

An immutable value built from the bundled file and the settings, swapped whole. Prices are the ledger's; whether a service may use
a model is the policy's; keys and connections are the providers'.
"""

import difflib
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import yaml

from aigend.config import WELL_KNOWN, ModelSettings, Problem, ProviderSettings, SettingsError, SettingsSections, with_usual_adapter
from aigend.errors import DomainError, Reason, invalid
from aigend.types import Capability, ModelTier

DEFAULT_MAX_OUTPUT_TOKENS = 8_192
MARKING_ADAPTERS = frozenset(("anthropic", "bedrock"))  # whose providers are sent marks for their prompt caches
ASSUMED_MIN_CACHEABLE_TOKENS = 4_096  # of their models where it is not known: the largest that any of them is known to have
_LONGEST_NAME = 256
_NEAREST = 3
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of one provider; token counts of 0 are not known."""

    id: str  # as the provider names it
    provider: str
    aliases: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()  # that stand for it
    tier: ModelTier | None = None
    capabilities: tuple[Capability, ...] = ()
    context_tokens: int = 0  # input and output together
    max_output_tokens: int = 0
    default_max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS  # sent and reserved where the caller gives no limit
    min_cacheable_tokens: int = 0  # shortest prefix that the provider caches
    description: str = ""

    @property
    def full_name(self) -> str:
        """The name that is never ambiguous: `provider/model`."""
        return f"{self.provider}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModels:
    """What aigend knows without settings."""

    models: tuple[Model, ...]
    agents: Mapping[str, str]  # agent -> provider/model
    default_model: str


class Catalog:
    """Resolves names to models.

    Names are tried in this order: `provider/model` of a listed model; a bare id or alias, where a model from the settings wins
    over a bundled one and a configured provider over one that is not; `provider/model` of any model of a configured provider. A
    bare name that is not listed is refused even where one provider alone is configured: a typing error must not become a paid call.

    Args:
        models: All models; later ones with the same provider and id replace earlier ones.
        agents: Agent to `provider/model`.
        configured: Names of providers that can be asked.
        default_model: Name that stands for a request without model and agent; empty: such a request is refused.
        preferred: Full names that win over others under the same bare name.
        marking: Names of providers that are sent marks for their prompt caches: what a model of theirs caches at least is never
            unknown, so that nothing is marked which may be too short.
    """

    def __init__(
        self,
        models: Iterable[Model],
        *,
        agents: Mapping[str, str],
        configured: Collection[str],
        default_model: str = "",
        preferred: Collection[str] = (),
        marking: Collection[str] = (),
    ) -> None:
        self._configured = frozenset(configured)
        self._marking = frozenset(marking)
        by_name = {model.full_name: self._with_minimum(model) for model in models}
        targets = {agent: by_name.get(target) or self._unlisted(target, f"agents.{agent}") for agent, target in agents.items()}
        by_name.update({model.full_name: model for model in targets.values()})
        listed = [_with_agents(by_name[name], targets) for name in sorted(by_name)]
        self._models = tuple(sorted(listed, key=lambda model: (model.provider, model.id)))
        self._positions = {model.full_name: index for index, model in enumerate(self._models)}
        self._full = {model.full_name: model for model in self._models}
        self._bare = _bare_names(self._models, lambda model: (model.full_name in preferred, model.provider in self._configured))
        self._agents = {agent: self._full[model.full_name] for agent, model in targets.items()}
        self._default = self._named(default_model, "default_model") if default_model else None

    @property
    def agents(self) -> Mapping[str, Model]:
        """What each agent stands for."""
        return self._agents

    @property
    def default(self) -> Model | None:
        """The model of a request that names neither model nor agent; None: such a request is refused."""
        return self._default

    def resolve(self, model: str, agent: str) -> Model:
        """Return the model that a request means; a model wins over an agent.

        Raises:
            DomainError: UNKNOWN_MODEL or UNKNOWN_AGENT with the nearest names, INVALID_REQUEST where nothing is named and there is
                no default model.
        """
        meant = self._agent(agent) if agent else self._default
        if model:
            return self._named(model, "model")
        if meant is None:
            raise invalid("model", "", "a model or an agent; the settings name no default_model")
        return meant

    def find(self, name: str, *, field: str = "model") -> Model:
        """Return a model by id, alias, `provider/model` or agent.

        Args:
            name: What it is called.
            field: What the error calls the place where the name stands.

        Raises:
            DomainError: UNKNOWN_MODEL, INVALID_REQUEST for what can't be a name.
        """
        return self._agents.get(name) or self._named(name, field)

    def listed(self, name: str) -> Model | None:
        """Return a listed model by `provider/model`, id or alias; None where there is none."""
        return self._full.get(name) or self._bare.get(name)

    def list(self, *, provider: str = "", tier: ModelTier | None = None, capability: Capability | None = None) -> tuple[Model, ...]:
        """Return the listed models that match all that is given, by provider and id."""
        return tuple(
            model
            for model in self._models
            if (not provider or model.provider == provider)
            and (tier is None or model.tier is tier)
            and (capability is None or capability in model.capabilities)
        )

    def position(self, model: Model) -> int:
        """Return a model's place in catalog order; models that are not listed come last, in an order that never changes."""
        place = self._positions.get(model.full_name)
        return place if place is not None else len(self._models) + zlib.crc32(model.full_name.encode())

    def available(self, model: Model) -> bool:
        """Tell whether the model's provider is configured."""
        return model.provider in self._configured

    def _named(self, name: str, field: str) -> Model:
        found = self.listed(name)
        if found is not None:
            return found
        provider, slash, rest = name.partition("/")
        if slash and rest and provider in self._configured:
            return self._unlisted(name, field)
        raise self._unknown_model(name, field)

    def _unlisted(self, name: str, field: str) -> Model:
        provider, _, rest = name.partition("/")
        if not rest or len(rest) > _LONGEST_NAME or not rest.isprintable() or any(map(str.isspace, rest)):
            raise invalid(field, name, f"provider/model with a model of 1 to {_LONGEST_NAME} printable characters without spaces")
        return self._with_minimum(Model(id=rest, provider=provider))

    def _with_minimum(self, model: Model) -> Model:
        """The model with a careful minimum where its own is not known and marks would be sent."""
        if model.min_cacheable_tokens or model.provider not in self._marking:
            return model
        return replace(model, min_cacheable_tokens=ASSUMED_MIN_CACHEABLE_TOKENS)

    def _agent(self, agent: str) -> Model:
        if (found := self._agents.get(agent)) is not None:
            return found
        near = difflib.get_close_matches(agent, self._agents, n=_NEAREST)
        raise DomainError(
            Reason.UNKNOWN_AGENT,
            f"agent {agent[:_LONGEST_NAME]!r} is not known; allowed: {', '.join(sorted(self._agents))}" + _hint(near),
            field="agent",
            agent=agent[:_LONGEST_NAME],
            nearest=", ".join(near),
        )

    def _unknown_model(self, name: str, field: str) -> DomainError:
        near = difflib.get_close_matches(name[:_LONGEST_NAME], [*self._bare, *self._full], n=_NEAREST)
        configured = ", ".join(sorted(self._configured)) or "none"
        return DomainError(
            Reason.UNKNOWN_MODEL,
            f"{field} {name[:_LONGEST_NAME]!r} is not in the catalog{_hint(near)}; "
            f"any model of a configured provider ({configured}) may be asked as provider/model",
            field=field,
            model=name[:_LONGEST_NAME],
            nearest=", ".join(near),
        )


def build_catalog(settings: SettingsSections, *, configured: Collection[str], bundled: BundledModels | None = None) -> Catalog:
    """Return the catalog of these settings.

    A provider whose `price_provider` names another one is taken to run that one's models too.

    Args:
        settings: Models, agents, default model and providers.
        configured: Names of providers that can be asked, those without a section included.
        bundled: What is known without settings; None: the file that comes with aigend.

    Raises:
        SettingsError: A model, agent or default that can't be; it names the key.
    """
    known = bundled or bundled_models()
    own = [_from_settings(model, index) for index, model in enumerate(settings.models)]
    _check_names(own)
    borrowed = [
        replace(model, provider=name)
        for name, provider in settings.providers.items()
        for model in known.models
        if provider.price_provider == model.provider and name != model.provider
    ]
    models = [*known.models, *borrowed, *own]
    agents = {agent: _reachable(target, models, configured) for agent, target in known.agents.items()} | settings.agents
    default = settings.default_model or _reachable(known.default_model, models, configured)
    try:
        return Catalog(
            models,
            agents=agents,
            configured=configured,
            default_model=default,
            preferred=frozenset(model.full_name for model in own),
            marking=_marking(settings),
        )
    except DomainError as error:
        key, value = error.metadata.get("field", "models"), error.metadata.get("model") or error.metadata.get("value", "")
        raise SettingsError([Problem(text=error.text, key=key, value=value, allowed=error.metadata.get("allowed", ""))]) from error


def bundled_models() -> BundledModels:
    """Return the models that come with aigend."""
    text = resources.files("aigend").joinpath("data/models.yaml").read_text(encoding="utf-8")
    data = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader, the C one where there is one
    models = tuple(
        _from_bundled(provider, name, facts) for provider, many in data["models"].items() for name, facts in many.items()
    )
    return BundledModels(models=models, agents=data["agents"], default_model=data["default_model"])


def _marking(settings: SettingsSections) -> frozenset[str]:
    """Providers that are sent marks, those that work without a section included."""
    known = {name: with_usual_adapter(name, ProviderSettings()) for name in WELL_KNOWN} | settings.providers
    return frozenset(name for name, provider in known.items() if provider.adapter in MARKING_ADAPTERS)


def _reachable(target: str, models: Iterable[Model], configured: Collection[str]) -> str:
    """The same model at a configured provider, where its own is not configured and exactly one such provider runs it."""
    provider, _, name = target.partition("/")
    others = [model.full_name for model in models if model.id == name and model.provider in configured]
    return others[0] if provider not in configured and len(others) == 1 else target


def _bare_names(models: Iterable[Model], rank: Any) -> dict[str, Model]:
    """Ids and aliases to models; the highest rank wins, then catalog order, and an id wins over an alias."""
    ranked = sorted(models, key=rank, reverse=True)
    names: dict[str, Model] = {}
    for model in ranked:
        names.setdefault(model.id, model)
    for model in ranked:
        for alias in model.aliases:
            names.setdefault(alias, model)
    return names


def _with_agents(model: Model, targets: Mapping[str, Model]) -> Model:
    agents = tuple(sorted(agent for agent, target in targets.items() if target.full_name == model.full_name))
    return replace(model, agents=agents)


def _from_bundled(provider: str, name: str, facts: Mapping[str, Any]) -> Model:
    most = facts.get("max_output_tokens", 0)
    return Model(
        id=name,
        provider=provider,
        aliases=tuple(facts.get("aliases", ())),
        tier=ModelTier(facts["tier"]),
        capabilities=tuple(Capability(capability) for capability in facts["capabilities"]),
        context_tokens=facts.get("context_tokens", 0),
        max_output_tokens=most,
        default_max_output_tokens=min(most or DEFAULT_MAX_OUTPUT_TOKENS, DEFAULT_MAX_OUTPUT_TOKENS),
        min_cacheable_tokens=facts.get("min_cacheable_tokens", 0),
        description=facts["description"],
    )


def _from_settings(model: ModelSettings, index: int) -> Model:
    most = model.max_output_tokens
    return Model(
        id=model.id,
        provider=model.provider,
        aliases=model.aliases,
        tier=ModelTier(model.tier) if model.tier else None,
        capabilities=tuple(_capability(name, index) for name in model.capabilities),
        context_tokens=model.context_tokens,
        max_output_tokens=most,
        default_max_output_tokens=min(most or model.default_max_output_tokens, model.default_max_output_tokens),
        min_cacheable_tokens=model.min_cacheable_tokens,
        description=model.description,
    )


def _capability(name: str, index: int) -> Capability:
    try:
        return Capability(name)
    except ValueError:
        raise _bad_model(index, "capabilities", name, ", ".join(Capability)) from None


def _check_names(models: list[Model]) -> None:
    """Two models of the settings must not share a name at one provider."""
    taken: set[tuple[str, str]] = set()
    for index, model in enumerate(models):
        for field, name in (("id", model.id), *(("aliases", alias) for alias in model.aliases)):
            if not name or (model.provider, name) in taken:
                raise _bad_model(index, field, name, f"a name that no other model of {model.provider} has")
            taken.add((model.provider, name))


def _bad_model(index: int, field: str, value: str, allowed: str) -> SettingsError:
    key = f"models.{index}.{field}"
    return SettingsError([Problem(text=f"{key} is {value!r}; allowed: {allowed}", key=key, value=value, allowed=allowed)])


def _hint(near: list[str]) -> str:
    return f" (did you mean {', '.join(near)}?)" if near else ""
