"""The policies of services over a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2, model_pb2
from google.protobuf.duration_pb2 import Duration

from tests.daemon.rpc.served import Served, asked, failure, served

MODELS = (
    {"id": "model-1", "provider": "one", "tier": "mini", "capabilities": ("chat", "vision")},
    {"id": "model-2", "provider": "two", "tier": "mini", "capabilities": ("chat",)},
)
SERVICES = {
    "free": {},
    "StrategyBuilder": {
        "allowed_tiers": ["mini"],
        "allowed_models": ["two/own"],
        "required_capabilities": ["vision"],
        "default_model": "one/model-1",
        "strategy": "cost_optimized",
        "ttl_s": 90.5,
        "normalization": "exact",
    },
}


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Served]:
    """A running front with two services in its settings."""
    async with served(tmp_path, models=MODELS, services=SERVICES) as running:
        yield running


async def test_a_policy_is_shown_whole(front: Served) -> None:
    """Every field of a policy arrives, and the models that it allows come with it."""
    shown = await front.model.GetServicePolicy(model_pb2.GetServicePolicyRequest(service="StrategyBuilder"))
    policy = shown.service_policy
    assert (policy.service, policy.restricted, policy.default_model) == ("StrategyBuilder", True, "one/model-1")
    assert list(policy.allowed_tiers) == [model_pb2.MODEL_TIER_MINI]
    assert list(policy.named_models) == ["two/own"]
    assert list(policy.required_capabilities) == [model_pb2.MODEL_CAPABILITY_VISION]
    assert policy.strategy == completion_pb2.STRATEGY_COST_OPTIMIZED
    assert (policy.ttl, policy.normalization) == (Duration(seconds=90, nanos=500_000_000), completion_pb2.NORMALIZATION_EXACT)
    assert "one/model-1" in policy.allowed_models
    assert "two/model-2" not in policy.allowed_models
    assert [f"{model.provider}/{model.id}" for model in shown.models] == list(policy.allowed_models)
    assert {model.available for model in shown.models if model.provider in ("one", "two")} == {True}


async def test_policies_are_listed_by_service(front: Served) -> None:
    """All services of the settings come by name, page by page; what a policy leaves open stays unset."""
    first = await front.model.ListServicePolicies(model_pb2.ListServicePoliciesRequest(page_size=1))
    assert [policy.service for policy in first.service_policies] == ["StrategyBuilder"]
    rest = await front.model.ListServicePolicies(model_pb2.ListServicePoliciesRequest(page_token=first.next_page_token))
    (free,) = rest.service_policies
    assert (free.service, free.restricted, free.default_model, free.strategy) == ("free", False, "", 0)
    assert not free.HasField("ttl")
    assert not rest.next_page_token
    assert (await failure(front.model.ListServicePolicies(model_pb2.ListServicePoliciesRequest(page_size=-1)))).metadata[
        "field"
    ] == "page_size"


async def test_a_service_without_policy_is_not_found(front: Served) -> None:
    """An unknown service is NOT_FOUND with the known ones."""
    missing = await failure(front.model.GetServicePolicy(model_pb2.GetServicePolicyRequest(service="StrategyBuilde")))
    assert (missing.reason, missing.metadata["field"]) == ("NOT_FOUND", "service")
    assert "StrategyBuilder" in missing.text


async def test_a_model_that_is_not_allowed_is_refused(front: Served) -> None:
    """A completion of the service for another model is PERMISSION_DENIED with what is allowed."""
    refused = await failure(front.completion.Complete(asked(agent="", model="two/model-2", service="StrategyBuilder")))
    assert (refused.reason, refused.code.name) == ("MODEL_NOT_ALLOWED", "PERMISSION_DENIED")
    assert {"two/own", "one/model-1"} <= set(refused.metadata["allowed"].split(", "))
    assert refused.metadata["service"] == "StrategyBuilder"
