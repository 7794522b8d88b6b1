"""How long a Gemini model is asked to think: by levels from the third generation on, by tokens before.

Source:
    Google, "Thinking" (levels by model, budgets) and "OpenAI compatibility" (efforts as levels and budgets). Read 2026-11.
"""

import re
from typing import Any

from aigend.types import ReasoningEffort

_VERSION = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?(?!\d)")
_NEWEST = (99, 0)  # a name without a version stands for whatever is latest
_FIRST_WITH_LEVELS = (3, 0)
_LAST_WITH_MINIMAL = (3, 6)
_BUDGETS = {
    ReasoningEffort.NONE: 0,
    ReasoningEffort.MINIMAL: 1_024,
    ReasoningEffort.LOW: 1_024,
    ReasoningEffort.MEDIUM: 8_192,
    ReasoningEffort.HIGH: 24_576,
}
_SHORTEST_OF_PRO = 128  # tokens: those models can't stop thinking


def generation(model: str) -> tuple[int, int]:
    """Return a model's version by its name.

    Example:
        >>> generation("gemini-2.5-pro"), generation("models/gemini-4-argon"), generation("gemini-flash-latest")
        ((2, 5), (4, 0), (99, 0))
    """
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def thinking_config(effort: ReasoningEffort, model: str) -> dict[str, Any]:
    """Return what lets a model think for so long, and show what it thought.

    Models that can't stop thinking, or don't know a level, get the nearest that they have.

    Example:
        >>> thinking_config(ReasoningEffort.LOW, "gemini-3.8-flash")
        {'thinkingLevel': 'low', 'includeThoughts': True}
        >>> thinking_config(ReasoningEffort.NONE, "gemini-2.5-flash")
        {'thinkingBudget': 0}
    """
    shown = {"includeThoughts": True} if effort is not ReasoningEffort.NONE else {}
    if generation(model) >= _FIRST_WITH_LEVELS:
        return {"thinkingLevel": _level(effort, model), **shown}
    budget = _BUDGETS[effort]
    return {"thinkingBudget": max(budget, _SHORTEST_OF_PRO) if "pro" in model else budget, **shown}


def _level(effort: ReasoningEffort, model: str) -> str:
    version = generation(model)
    if effort in (ReasoningEffort.NONE, ReasoningEffort.MINIMAL):
        return "minimal" if "flash" in model and version <= _LAST_WITH_MINIMAL else "low"
    if effort is ReasoningEffort.MEDIUM and version == _FIRST_WITH_LEVELS and "pro" in model:
        return "high"
    return effort.value
