"""Policies and presets on the command line."""

import json

import aigen
import pytest
from aigen.v1 import completion_pb2, model_pb2
from aigenctl.exits import Exit

from tests.cli.scripted_daemon import ScriptedError

POLICY = model_pb2.ServicePolicy(
    service="StrategyBuilder",
    restricted=True,
    allowed_tiers=["MODEL_TIER_MINI", "MODEL_TIER_STANDARD"],
    named_models=["openai/gpt-4-turbo"],
    required_capabilities=["MODEL_CAPABILITY_JSON_SCHEMA"],
    allowed_models=["openai/gpt-4o"],
    default_model="openai/gpt-4o",
    strategy="STRATEGY_COST_OPTIMIZED",
    ttl={"seconds": 3_600},
    normalization="NORMALIZATION_EXACT",
)
SHOWN = ("tier mini, tier standard, openai/gpt-4-turbo", "openai/gpt-4o", "json schema", "cost optimized", "3,600.0 s", "exact")


def _words(text: str) -> str:
    return " ".join(text.split())


def test_policies_are_listed(daemon, run):
    """Each service is a row; what its policy leaves open is said as what holds instead."""
    daemon.answers["ListServicePolicies"] = model_pb2.ListServicePoliciesResponse(service_policies=[POLICY, {"service": "free"}])
    shown = _words(run("models", "policy").stdout)
    assert all(part in shown for part in ("StrategyBuilder", *SHOWN))
    assert all(part in shown for part in ("free", "any model", "the daemon's", "the cache's"))
    listed = json.loads(run("models", "policy", "--json").stdout)["service_policies"]
    assert [policy["service"] for policy in listed] == ["StrategyBuilder", "free"]
    assert (listed[0]["allowed_tiers"], listed[0]["ttl_s"], listed[1]["strategy"]) == (["mini", "standard"], 3600.0, None)


def test_one_policy_is_shown_with_its_models(daemon, run):
    """The models that a service may ask for come with what is known of them."""
    model = model_pb2.Model(id="gpt-4o", provider="openai", tier="MODEL_TIER_STANDARD", available=True)
    daemon.answers["GetServicePolicy"] = model_pb2.GetServicePolicyResponse(service_policy=POLICY, models=[model])
    shown = _words(run("models", "policy", "StrategyBuilder").stdout)
    assert all(part in shown for part in ("Service: StrategyBuilder", *SHOWN, "gpt-4o │ - │ - │ standard"))
    assert daemon.asked["GetServicePolicy"][0].service == "StrategyBuilder"
    assert json.loads(run("models", "policy", "StrategyBuilder", "--json").stdout)["models"][0]["id"] == "gpt-4o"


def test_a_service_without_a_policy_is_not_found(daemon, run):
    """The daemon's word is passed on with its exit code."""
    daemon.answers["GetServicePolicy"] = ScriptedError("NOT_FOUND", "NOT_FOUND", "service 'x' has no policy")
    assert run("models", "policy", "x").exit_code == Exit.NOT_FOUND


def test_a_refused_model_names_the_allowed_ones(daemon, run):
    """MODEL_NOT_ALLOWED ends as REFUSED, and its sentence is shown."""
    text = "model openai/o1-preview is not allowed for service StrategyBuilder; allowed: openai/gpt-4o"
    daemon.answers["Complete"] = ScriptedError("PERMISSION_DENIED", "MODEL_NOT_ALLOWED", text, allowed="openai/gpt-4o")
    result = run("complete", "hi", "--model", "o1-preview", "--service", "StrategyBuilder")
    assert result.exit_code == Exit.REFUSED
    assert text in _words(result.stderr)


def test_presets_are_listed_without_a_daemon(run, daemon):
    """Each preset is a row with its models and options; JSON has the system prompts too. No daemon is asked."""
    daemon.stop()
    shown = _words(run("presets").stdout)
    assert all(name in shown for name in aigen.PRESETS)
    listed = json.loads(run("presets", "--json").stdout)["presets"]
    assert [preset["name"] for preset in listed] == list(aigen.PRESETS)
    assert listed[0]["system"] == aigen.PRESETS["chat"].system
    assert listed[0]["models"] == list(aigen.PRESETS["chat"].models)


@pytest.mark.parametrize(("options", "task"), [((), "code_review"), (("--task", "mine"), "mine")])
def test_complete_takes_a_preset(daemon, run, options, task):
    """--preset is expanded, its name is the task unless --task names one, and other options win over it."""
    daemon.answers["Complete"] = completion_pb2.CompleteResponse(text="fine")
    assert run("complete", "hi", "--preset", "code_review", "--max-output-tokens", "9", *options).exit_code == Exit.OK
    (request,) = daemon.asked["Complete"]
    assert request.system[0].text == aigen.PRESETS["code_review"].system
    assert request.max_output_tokens == 9
    assert daemon.accounts[-1].task == task


def test_an_unknown_preset_is_refused(daemon, run):
    """The nearest preset is named, and nothing is asked."""
    result = run("complete", "hi", "--preset", "code_reviews")
    assert result.exit_code == Exit.REFUSED
    assert "did you mean 'code_review'" in _words(result.stderr)
    assert not daemon.asked
