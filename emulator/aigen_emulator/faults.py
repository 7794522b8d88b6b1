"""Scripted faults: what goes wrong with a request, and where that is said.

A fault comes from the request header `x-emulator-fault`, from a marker in the prompt (`[[fault:status=503,times=2]]`), or from
the script that the control endpoint holds. What is done about it on the connection is `app.py`'s.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

GARBAGE = ("html", "text", "broken_json", "empty", "wrong_shape")
OPERATIONS = ("upload", "create", "list", "retrieve", "results", "cancel")  # on batch jobs
TIERS = ("", "default", "standard", "flex")
USAGES = ("missing", "negative", "absurd", "nan")
_MARKER = re.compile(r"\[\[fault:([^\]]*)\]\]")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class FaultError(ValueError):
    """A fault that can't be understood; the text names key, value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which a request goes wrong; unset fields change nothing."""

    status: int | None = None  # answer with this status
    headers: Mapping[str, str] = field(default_factory=dict)  # added to the answer's
    body: str | None = None  # sent as it is, instead of the provider's own body
    code: str | None = None  # the provider's code in its own body, where it is not the usual one of that status
    tier: str = ""  # serve at this tier, whichever was asked for
    retry_after: str | None = None  # the header's value
    delay_ms: int = 0  # wait before the first byte
    hang: bool = False  # accept and never answer
    reset: bool = False  # reset the connection once the request was read
    cut_after: int | None = None  # close after so many events (or 64-byte pieces of a unary answer)
    error_after: int | None = None  # send an error event after so many events of a stream
    garbage: str = ""  # a 200 that is no answer: one of GARBAGE
    usage: str = ""  # one of USAGES
    drip_ms: int | None = None  # one byte each so many milliseconds
    size: int | None = None  # an answer of about so many bytes
    charge: bool | None = None  # bill it; None: by the provider's rule, all but error statuses
    times: int | None = None  # how often; None: always, or once for one that is in the script
    model: str = ""  # only for this model
    provider: str = ""  # only for this provider
    contains: str = ""  # only for prompts that contain this
    on: str = ""  # only for this one of OPERATIONS; "": only for completions, lines of batch jobs among them

    @property
    def charges(self) -> bool:
        """Whether the provider bills the call although it fails."""
        return self.charge if self.charge is not None else (self.status is None or self.status < 400)

    @property
    def answers(self) -> bool:
        """Whether the model begins to answer, whatever becomes of the answer."""
        return self.charges and not self.hang and not self.reset and (self.status is None or self.status < 400)

    def matches(self, *, model: str, provider: str, prompt: str, on: str = "") -> bool:
        """Return whether the fault is meant for such a request."""
        return self.on == on and self.model in ("", model) and self.provider in ("", provider) and self.contains in prompt


_FIELDS = {item.name: str(item.type) for item in fields(Fault)}


def fault_from(values: Mapping[str, Any]) -> Fault:
    """Return the fault that keys and values describe.

    Raises:
        FaultError: A key is unknown, or its value is of the wrong kind.
    """
    checked = {key: _checked(key, value) for key, value in values.items()}
    fault = Fault(**checked)
    if fault.garbage and fault.garbage not in GARBAGE:
        raise FaultError(f"fault garbage is {fault.garbage!r}; allowed: {', '.join(GARBAGE)}")
    if fault.usage and fault.usage not in USAGES:
        raise FaultError(f"fault usage is {fault.usage!r}; allowed: {', '.join(USAGES)}")
    if fault.tier not in TIERS:
        raise FaultError(f"fault tier is {fault.tier!r}; allowed: {', '.join(TIERS[1:])}")
    if fault.on and fault.on not in OPERATIONS:
        raise FaultError(f"fault on is {fault.on!r}; allowed: {', '.join(OPERATIONS)}")
    return fault


def parse_fault(text: str) -> Fault:
    """Return the fault that a header or marker spells: `key=value,key=value`, or a JSON object."""
    if not text.lstrip().startswith("{"):
        return fault_from(
            {key.strip(): value for key, _, value in (item.partition("=") for item in text.split(",")) if key.strip()}
        )
    try:
        return fault_from(json.loads(text))
    except json.JSONDecodeError as error:
        raise FaultError(f"fault is {text[:80]!r}; allowed: key=value,... or a JSON object ({error})") from error


def _checked(key: str, value: Any) -> Any:
    kind = _FIELDS.get(key)
    if kind is None:
        raise FaultError(f"fault key is {key!r}; allowed: {', '.join(_FIELDS)}")
    if key == "headers":
        return _headers(value)
    if "bool" in kind:
        return _flag(key, value)
    if "int" in kind:
        return _number(key, value)
    if value is None or isinstance(value, str | int | float):
        return value if value is None else str(value)
    raise FaultError(f"fault {key} is {value!r}; allowed: a string")


def _headers(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(name): str(content) for name, content in value.items()}
    name, found, content = str(value).partition(":")
    if not found:
        raise FaultError(f"fault headers is {value!r}; allowed: an object, or name:value")
    return {name.strip(): content.strip()}


def _flag(key: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    shown = str(value).lower()
    if shown == "":  # a bare key, as in [[fault:hang]]
        return True
    if shown not in _FLAGS:
        raise FaultError(f"fault {key} is {value!r}; allowed: true, false")
    return _FLAGS[shown]


def _number(key: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError) as error:
        raise FaultError(f"fault {key} is {value!r}; allowed: a whole number >= 0") from error
    if number < 0 or (key == "status" and not 200 <= number <= 599):
        raise FaultError(f"fault {key} is {number}; allowed: {'200 to 599' if key == 'status' else 'a whole number >= 0'}")
    return number


class Script:
    """Faults in waiting: a list used up in order, and how often each marker has struck."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self.struck = 0
        self._left: list[int | None] = []
        self._marks: dict[tuple[str, int], int] = {}

    def add(self, fault: Fault) -> None:
        """Put a fault at the end of the list; it strikes `times` times (None: once)."""
        self.waiting.append(fault)
        self._left.append(fault.times if fault.times is not None else 1)

    def clear(self) -> None:
        """Forget everything."""
        self.waiting.clear()
        self._left.clear()
        self._marks.clear()

    def strike(self, *, model: str, provider: str, prompt: str, header: str, seed: int) -> Fault | None:
        """Return the fault that strikes this request: the header's, else the marker's, else the next one that matches.

        Raises:
            FaultError: Header or marker can't be understood.
        """
        fault = self._by_text(header, seed) if header else None
        if fault is None and "[[fault:" in prompt:
            markers = _MARKER.findall(prompt)
            fault = self._by_text(markers[-1], seed) if markers else None
        if fault is None and self.waiting:
            fault = self._next(model=model, provider=provider, prompt=prompt)
        self.struck += fault is not None
        return fault

    def strike_operation(self, operation: str, *, provider: str) -> Fault | None:
        """Return the fault that strikes a request about batch jobs: the next one that matches."""
        fault = self._next(model="", provider=provider, prompt="", on=operation) if self.waiting else None
        self.struck += fault is not None
        return fault

    def _by_text(self, text: str, seed: int) -> Fault | None:
        fault = parse_fault(text)
        if fault.times is None:
            return fault
        struck = self._marks.get((text, seed), 0)
        self._marks[text, seed] = struck + 1
        return fault if struck < fault.times else None

    def _next(self, *, model: str, provider: str, prompt: str, on: str = "") -> Fault | None:
        for index, fault in enumerate(self.waiting):
            if not fault.matches(model=model, provider=provider, prompt=prompt, on=on):
                continue
            left = (self._left[index] or 1) - 1
            self._left[index] = left
            if left <= 0:
                del self.waiting[index], self._left[index]
            return fault
        return None
