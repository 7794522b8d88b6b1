"""ModelService: the catalog with the prices in force, and which service may ask which model."""

from collections.abc import Callable
from decimal import Decimal

from aigen.v1 import model_pb2 as pb

from aigend.clock import Clock
from aigend.completion.quotes import priced
from aigend.completion.snapshot import Snapshot
from aigend.ledger.prices.pricing import BUCKETS, PriceEntry, Rates
from aigend.routing.catalog import Model
from aigend.routing.policy import ServicePolicy, find_policy
from aigend.rpc.enums import CAPABILITY, NORMALIZATION, STRATEGY, TIER
from aigend.rpc.paging import page
from aigend.rpc.times import duration
from aigend.types import Route

_NANOS_A_TOKEN = Decimal(1_000)  # a rate of 1 USD per 1,000,000 tokens


class ModelServicer:
    """Reads the catalog.

    Args:
        snapshot: Returns what is in force.
        clock: Dates the prices.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], *, clock: Clock) -> None:
        self._snapshot = snapshot
        self._clock = clock

    async def list_models(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """List models by provider and id."""
        snapshot = self._snapshot()
        await snapshot.prices.load()
        models = snapshot.catalog.list(
            provider=request.provider,
            tier=TIER.unpack(request.tier, "tier"),
            capability=CAPABILITY.unpack(request.capability, "capability"),
        )
        shown, token = page(models, page_size=request.page_size, page_token=request.page_token)
        return pb.ListModelsResponse(models=[self._pack(model, snapshot) for model in shown], next_page_token=token)

    async def get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """Return one model."""
        snapshot = self._snapshot()
        await snapshot.prices.load()
        return pb.GetModelResponse(model=self._pack(snapshot.catalog.find(request.model), snapshot))

    async def list_service_policies(self, request: pb.ListServicePoliciesRequest) -> pb.ListServicePoliciesResponse:
        """List the services' policies by service."""
        policies = self._snapshot().router.policies
        listed = [_pack_policy(policies[service]) for service in sorted(policies)]
        shown, token = page(listed, page_size=request.page_size, page_token=request.page_token)
        return pb.ListServicePoliciesResponse(service_policies=shown, next_page_token=token)

    async def get_service_policy(self, request: pb.GetServicePolicyRequest) -> pb.GetServicePolicyResponse:
        """Return one service's policy with the models that it allows."""
        snapshot = self._snapshot()
        policy = find_policy(snapshot.router.policies, request.service)
        await snapshot.prices.load()
        models = [self._pack(model, snapshot) for model in policy.models]
        return pb.GetServicePolicyResponse(service_policy=_pack_policy(policy), models=models)

    def _pack(self, model: Model, snapshot: Snapshot) -> pb.Model:
        price = priced(snapshot, Route(model.provider, model.id), self._clock)
        return pb.Model(
            id=model.id,
            provider=model.provider,
            aliases=model.aliases,
            agents=model.agents,
            tier=TIER.pack(model.tier) if model.tier else None,
            capabilities=[CAPABILITY.pack(capability) for capability in model.capabilities],
            context_tokens=model.context_tokens,
            max_output_tokens=model.max_output_tokens,
            default_max_output_tokens=model.default_max_output_tokens,
            min_cacheable_tokens=model.min_cacheable_tokens,
            description=model.description,
            price=pack_price(price) if price else None,
            available=snapshot.catalog.available(model),
        )


def _pack_policy(policy: ServicePolicy) -> pb.ServicePolicy:
    return pb.ServicePolicy(
        service=policy.service,
        restricted=policy.restricted,
        allowed_tiers=[TIER.pack(tier) for tier in policy.tiers],
        named_models=sorted(policy.named),
        required_capabilities=[CAPABILITY.pack(capability) for capability in policy.required],
        allowed_models=[model.full_name for model in policy.models],
        default_model=policy.default.full_name if policy.default else "",
        strategy=STRATEGY.pack(policy.strategy) if policy.strategy else None,
        ttl=duration(policy.ttl_s) if policy.ttl_s is not None else None,
        normalization=NORMALIZATION.pack(policy.normalization) if policy.normalization else None,
    )


def pack_price(price: PriceEntry) -> pb.Price:
    """Return the message of a price."""
    return pb.Price(
        price_entry_id=price.id,
        **pack_rates(price),
        source=price.source,
        checked_on=price.checked_on.isoformat() if price.checked_on else "",
    )


def pack_rates(rates: Rates) -> dict[str, str]:
    """Return rates as the fields of a message."""
    return {bucket: _rate(getattr(rates, bucket)) for bucket in BUCKETS}


def _rate(usd_a_million: Decimal | None) -> str:
    return "" if usd_a_million is None else f"{(usd_a_million * _NANOS_A_TOKEN).normalize():f}"
