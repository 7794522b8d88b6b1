"""Parity: what the sync client can do the async one can, with the same arguments and in the same words."""

import inspect

import aigen
import pytest


def public(kind: type) -> dict[str, inspect.Signature]:
    """Return the public methods of a client with their signatures."""
    return {
        name: inspect.signature(method) for name, method in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")
    }


EXPECTED = {
    *("set_budget", "budgets", "budget", "delete_budget", "budget_status", "pause_budget", "resume_budget"),
    *("alerts", "watch_alerts", "watch_usage"),
    *("create_batch_job", "batch_job", "batch_jobs", "cancel_batch_job", "batch_job_results"),
    *("export_ledger", "record_usage", "settle_entry", "release_entry", "reprice_ledger", "report", "prices", "refresh_prices"),
    *("complete", "stream", "complete_many", "estimate", "stats", "ledger_entries", "clear_cache", "cache_stats"),
    *("explain", "diagnose_prompt_cache", "ledger_archives"),
    *(
        "cache_entries",
        "cache_entry",
        "prefix_decisions",
        "models",
        "model",
        "service_policies",
        "service_policy",
        "status",
        "settings",
        "drain",
        "session",
        "close",
    ),
}


def test_both_clients_have_the_same_methods():
    """Neither client has a method that the other lacks, and none of the contract's is missing."""
    assert set(public(aigen.Client)) == set(public(aigen.AsyncClient)) == EXPECTED


@pytest.mark.parametrize("name", ["__init__", *sorted(EXPECTED)])
def test_method_takes_the_same_arguments(name: str):
    """Names, kinds, defaults and types of the arguments are the same."""
    sync, other = (inspect.signature(getattr(kind, name)) for kind in (aigen.Client, aigen.AsyncClient))
    assert list(sync.parameters.values()) == list(other.parameters.values())


def test_results_are_the_same():
    """Methods return the same types, awaited or iterated asynchronously in the async client."""
    sync, other = public(aigen.Client), public(aigen.AsyncClient)
    for name in EXPECTED:
        given, expected = (str(found[name].return_annotation).replace("Async", "") for found in (other, sync))
        assert given.replace("collections.abc.Iterator", "typing.Iterator") == expected.replace(
            "collections.abc.Iterator", "typing.Iterator"
        )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_method_is_documented_the_same(name: str):
    """Both clients explain a method in the same words."""
    assert inspect.getdoc(getattr(aigen.Client, name)) == inspect.getdoc(getattr(aigen.AsyncClient, name))


def test_streams_have_the_same_members():
    """Both streams offer the same members."""
    sync, other = (
        {name for name in dir(kind) if not name.startswith("_")} for kind in (aigen.CompletionStream, aigen.AsyncCompletionStream)
    )
    assert sync == other
