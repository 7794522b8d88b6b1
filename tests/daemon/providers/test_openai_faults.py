"""Errors inside answers that began well: what is known of them."""

import pytest
from aigend.providers.openai.faults import failure_fault
from aigend.providers.port import FaultKind


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"code": "server_error"}, FaultKind.SERVER_ERROR),
        ({"code": "rate_limit_exceeded"}, FaultKind.RATE_LIMITED),
        ({"code": "insufficient_quota"}, FaultKind.AUTH),
        ({"code": "invalid_prompt"}, FaultKind.REJECTED),
        ({"code": "context_length_exceeded"}, FaultKind.REJECTED),
        ({"code": None, "type": "invalid_request_error"}, FaultKind.REJECTED),
        ({"code": 429}, FaultKind.RATE_LIMITED),
        ({"code": 402}, FaultKind.AUTH),
        ({"code": 400}, FaultKind.REJECTED),
        ({"code": 502}, FaultKind.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_known_code_says_what_it_is(told: dict, kind: FaultKind, *, streamed: bool) -> None:
    """Before anything came, the provider's word counts as if it had come with a status."""
    assert failure_fault(told, provider="p", streamed=streamed).kind is kind


@pytest.mark.parametrize("told", [{}, {"code": "who knows"}, {"code": 7}, {"code": True}])
def test_an_unknown_code_is_in_doubt(told: dict) -> None:
    """What nobody can read may have been billed."""
    assert failure_fault(told, provider="p", streamed=False).kind is FaultKind.BAD_ANSWER
    assert failure_fault(told, provider="p", streamed=True).kind is FaultKind.CUT


def test_what_was_begun_is_cut() -> None:
    """After the first piece, or where tokens were counted, a part was billed whatever the code says."""
    told = {"code": "rate_limit_exceeded", "message": "slow down, sk-abcdef123456"}
    assert failure_fault(told, provider="p", streamed=True, partial_text_len=3).kind is FaultKind.CUT
    fault = failure_fault(told, provider="p", streamed=False, billed=True)
    assert (fault.kind, fault.code, fault.provider_message) == (FaultKind.CUT, "rate_limit_exceeded", "slow down, ***")
