"""How faults are spelled and used up."""

import pytest
from aigen_emulator.faults import Fault, FaultError, Script, fault_from, parse_fault


def strike(script: Script, prompt: str = "hello", *, header: str = "", model: str = "m", provider: str = "p") -> Fault | None:
    """Return what strikes a request."""
    return script.strike(model=model, provider=provider, prompt=prompt, header=header, seed=len(prompt))


def test_a_fault_is_spelled_short_or_as_json() -> None:
    """Both spellings give the same fault."""
    assert parse_fault("status=503, retry_after=2,charge=true") == parse_fault('{"status": 503, "retry_after": 2, "charge": true}')
    assert parse_fault("headers=x-a: b").headers == {"x-a": "b"}
    assert parse_fault("hang").hang


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stauts=503", "fault key is 'stauts'; allowed: status"),
        ("status=99", "fault status is 99; allowed: 200 to 599"),
        ("status=abc", "fault status is 'abc'; allowed: a whole number"),
        ("delay_ms=-1", "fault delay_ms is -1"),
        ("charge=perhaps", "fault charge is 'perhaps'; allowed: true, false"),
        ("garbage=poem", "fault garbage is 'poem'; allowed: html"),
        ("usage=odd", "fault usage is 'odd'; allowed: missing"),
        ("headers=none", "fault headers is 'none'"),
        ('{"body": [1]}', "fault body is [1]; allowed: a string"),
        ("{broken", "fault is '{broken'"),
    ],
)
def test_a_misspelt_fault_says_what_is_allowed(text: str, told: str) -> None:
    """Key, value and what is allowed are named."""
    with pytest.raises(FaultError) as caught:
        parse_fault(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("spelled", "billed"), [("status=503", False), ("status=429", False), ("hang", True), ("status=500,charge=true", True)]
)
def test_errors_are_free_unless_scripted(spelled: str, *, billed: bool) -> None:
    """A provider bills everything but error statuses, unless the script says otherwise."""
    assert parse_fault(spelled).charges is billed


def test_script_is_used_up_in_order() -> None:
    """Each request takes the next fault, and `times` says how often one strikes."""
    script = Script()
    script.add(fault_from({"status": 500, "times": 2}))
    script.add(fault_from({"status": 429}))
    assert [fault and fault.status for fault in (strike(script) for _ in range(4))] == [500, 500, 429, None]


def test_script_matches_model_provider_and_prompt() -> None:
    """A fault waits for the request it is meant for."""
    script = Script()
    script.add(fault_from({"status": 500, "model": "x"}))
    script.add(fault_from({"status": 501, "provider": "q"}))
    script.add(fault_from({"status": 502, "contains": "kayak"}))
    assert strike(script) is None
    found = [strike(script, model="x"), strike(script, provider="q"), strike(script, "a kayak")]
    assert [fault and fault.status for fault in found] == [500, 501, 502]


def test_marker_and_header_strike_before_the_script() -> None:
    """What the request itself says goes first; a marker with `times` strikes so often for one question."""
    script = Script()
    script.add(fault_from({"status": 500}))
    assert strike(script, header="status=401").status == 401
    marked = "do [[fault:status=402,times=1]]"
    assert [strike(script, marked).status, strike(script, marked).status] == [402, 500]
    assert strike(script, marked) is None
    script.clear()
    assert strike(script, marked).status == 402


def test_unclosed_marker_is_text() -> None:
    """A marker without an end is no marker."""
    assert strike(Script(), "[[fault:status=500") is None
