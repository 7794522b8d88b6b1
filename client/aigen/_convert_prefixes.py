"""Decisions about prompt caches, from messages."""

from aigen._convert import moment, same
from aigen.prefixes import PrefixDecision
from aigen.v1 import cache_pb2


def decision_page_of(payload: bytes) -> tuple[list[PrefixDecision], str]:
    """Return a page of decisions and where the next begins."""
    message = cache_pb2.ListPrefixDecisionsResponse.FromString(payload)
    return [_decision(found) for found in message.decisions], message.next_page_token


def _decision(message: cache_pb2.PrefixDecision) -> PrefixDecision:
    words = "request_id provider model service decision prefix tokens mark_count ttl_seconds reason"
    return PrefixDecision(
        **same(message, words),
        **same(message, "expected_gain_usd_nanos premium_usd_nanos"),
        create_time=moment(message, "create_time"),
    )
