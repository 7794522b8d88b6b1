"""What a service may ask for: the models it may use, the one it gets by default, its strategy and its cache defaults.

Immutable values made from settings and catalog, part of what is swapped whole. Keys and budgets are not kept here.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from aigend.config import Problem, ServiceSettings, SettingsError, SettingsSections
from aigend.errors import DomainError, Reason
from aigend.routing.catalog import Catalog, Model
from aigend.types import Capability, ModelTier, Normalization, Strategy

_MOST_NAMED = 40  # models in one error: an error travels in a few kilobytes of trailers


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """The policy of one service."""

    service: str
    tiers: tuple[ModelTier, ...] = ()  # allowed as a whole
    named: frozenset[str] = frozenset()  # full names allowed beside the tiers
    required: tuple[Capability, ...] = ()
    models: tuple[Model, ...] = ()  # all known ones that are allowed, in catalog order
    available: tuple[Model, ...] = ()  # those of them whose provider is configured
    default: Model | None = None  # of requests that name neither model nor agent; None: the catalog's
    strategy: Strategy | None = None  # of requests that name none
    ttl_s: float | None = None  # how long its answers stay fresh; None: the cache's default
    normalization: Normalization | None = None  # None: the cache's default

    @property
    def restricted(self) -> bool:
        """Whether there are models that the service may not use."""
        return bool(self.tiers or self.named or self.required)

    def allows(self, model: Model) -> bool:
        """Tell whether the service may use a model; capabilities that nobody has told are not held against it."""
        if model.capabilities and not set(self.required) <= set(model.capabilities):
            return False
        return not (self.tiers or self.named) or model.tier in self.tiers or model.full_name in self.named

    def check(self, model: Model, field: str) -> None:
        """Refuse a model that the service may not use.

        Raises:
            DomainError: MODEL_NOT_ALLOWED with the allowed ones.
        """
        if self.allows(model):
            return
        allowed = _listed(self.available or self.models)
        raise DomainError(
            Reason.MODEL_NOT_ALLOWED,
            f"model {model.full_name} is not allowed for service {self.service}; allowed: {allowed}",
            field=field,
            model=model.full_name,
            service=self.service,
            allowed=allowed,
        )


Policies = Mapping[str, ServicePolicy]


def build_policies(settings: SettingsSections, catalog: Catalog) -> Policies:
    """Return the policies of all services that the settings name.

    Raises:
        SettingsError: A model that is not known, a default that is not allowed, or a policy that allows nothing; each by its key.
    """
    policies: dict[str, ServicePolicy] = {}
    problems: list[Problem] = []
    for service, own in settings.services.items():
        try:
            policies[service] = _policy(service, own, catalog)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    return policies


def check_downgrades(settings: SettingsSections, catalog: Catalog) -> None:
    """Refuse budgets whose calls would go, in a downgrade, to a model that can't be asked.

    Raises:
        SettingsError: It is not known, or its provider is not configured; each by its key.
    """
    problems: list[Problem] = []
    for index, budget in enumerate(settings.budgets):
        if budget.downgrade_to is None:
            continue
        key = f"budgets.{index}.downgrade_to"
        try:
            if not catalog.available(_known(budget.downgrade_to, key, catalog)):
                able = _listed(tuple(filter(catalog.available, catalog.list()))) or "none; no provider is configured"
                raise _problem(key, budget.downgrade_to, able)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)


def find_policy(policies: Policies, service: str) -> ServicePolicy:
    """Return the policy of a service.

    Raises:
        DomainError: NOT_FOUND where the settings do not name the service.
    """
    if (policy := policies.get(service)) is not None:
        return policy
    near = difflib.get_close_matches(service, policies, n=1)
    known = ", ".join(sorted(policies)[:_MOST_NAMED]) or "none"
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise DomainError(
        Reason.NOT_FOUND,
        f"service {service[:128]!r} has no policy and may use any model{hint}; services in the settings: {known}",
        field="service",
        service=service[:128],
    )


def _policy(service: str, own: ServiceSettings, catalog: Catalog) -> ServicePolicy:
    key = f"services.{service}"
    named = [_known(name, f"{key}.allowed_models", catalog) for name in own.allowed_models]
    rules = ServicePolicy(
        service=service,
        tiers=tuple(ModelTier(tier) for tier in own.allowed_tiers),
        named=frozenset(model.full_name for model in named),
        required=tuple(Capability(capability) for capability in own.required_capabilities),
    )
    for name, model in zip(own.allowed_models, named, strict=True):
        if not rules.allows(model):
            raise _problem(f"{key}.allowed_models", name, f"models with {_words(rules.required)}, which required_capabilities asks")
    models = sorted({*filter(rules.allows, (*catalog.list(), *named))}, key=catalog.position)
    if not models:
        raise _problem(key, "a policy without a model", "allowed_tiers and required_capabilities that some known model meets")
    return ServicePolicy(
        service=service,
        tiers=rules.tiers,
        named=rules.named,
        required=rules.required,
        models=tuple(models),
        available=tuple(filter(catalog.available, models)),
        default=_default(key, own, rules, catalog, models),
        strategy=Strategy(own.strategy) if own.strategy else None,
        ttl_s=own.ttl_s,
        normalization=Normalization(own.normalization) if own.normalization else None,
    )


def _default(key: str, own: ServiceSettings, rules: ServicePolicy, catalog: Catalog, models: list[Model]) -> Model | None:
    if own.default_model is None:
        return None
    model = _known(own.default_model, f"{key}.default_model", catalog)
    if not rules.allows(model):
        raise _problem(f"{key}.default_model", own.default_model, _listed(tuple(models)))
    return model


def _known(name: str, key: str, catalog: Catalog) -> Model:
    try:
        return catalog.find(name, field=key)
    except DomainError as error:
        raise SettingsError([Problem(text=error.text, key=key, value=name, allowed="a model of the catalog")]) from error


def _problem(key: str, value: str, allowed: str) -> SettingsError:
    return SettingsError([Problem(text=f"{key} is {value!r}; allowed: {allowed}", key=key, value=value, allowed=allowed)])


def _listed(models: tuple[Model, ...]) -> str:
    names = [model.full_name for model in models[:_MOST_NAMED]]
    return ", ".join(names) + (f" and {len(models) - _MOST_NAMED} more" if len(models) > _MOST_NAMED else "")


def _words(capabilities: tuple[Capability, ...]) -> str:
    return ", ".join(capability.upper() for capability in capabilities)
