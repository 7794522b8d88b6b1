"""Task presets: what a common task is asked with, as data, and how a call's own arguments win over it.

A preset is expanded here, before anything is sent, so that the daemon sees an ordinary request. Which models exist, what they cost
and who may use them is the daemon's matter.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aigen.catalog import ModelTier
from aigen.errors import invalid

_MOST_MODELS = 4  # the model and three to fall back on
_NAMES_MODELS = ("model", "agent")

MODELS: Mapping[ModelTier, Mapping[str, str]] = MappingProxyType(
    {
        ModelTier.MINI: {"openai": "gpt-5.6-luna", "anthropic": "claude-haiku-5-5", "google": "gemini-3.5-flash-lite"},
        ModelTier.STANDARD: {
            "openai": "gpt-5.6-terra",
            "anthropic": "claude-haiku-4-5",
            "google": "gemini-3.8-flash",
            "perplexity": "perplexity/sonar",
        },
        ModelTier.ADVANCED: {"openai": "gpt-6.1-sol", "anthropic": "claude-sonnet-5-5", "google": "gemini-4-argon"},
        ModelTier.PREMIUM: {"openai": "gpt-6-astra", "anthropic": "claude-opus-5-5"},
    }
)
"""The model that stands for a tier at a provider, by its catalog name, so that a second account of the provider serves too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How one kind of task is asked.

    Example:
        >>> Preset(name="haiku", system="Answer with a haiku.", tier="mini", providers=("anthropic",)).models
        ('claude-haiku-5-5',)
    """

    name: str  # travels as the call's task, where the session names none
    description: str = ""
    system: str = ""  # system prompt; empty: none
    tier: ModelTier | str | None = None  # None: the daemon's default model
    providers: tuple[str, ...] = ()  # preferred first; empty: all that have a model of the tier
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of `Client.complete()`: sampling and limits

    @property
    def models(self) -> tuple[str, ...]:
        """The models that tier and providers stand for: the first is asked, the others are fallen back on.

        Raises:
            InvalidRequest: There is no such tier, or a provider has no model of it.
        """
        if self.tier is None:
            return ()
        if self.tier not in MODELS:
            raise invalid(f"preset {self.name}.tier", repr(self.tier), ", ".join(MODELS))
        known = MODELS[ModelTier(self.tier)]
        for provider in self.providers:
            if provider not in known:
                raise invalid(f"preset {self.name}.providers", repr(provider), f"for tier {self.tier}: {', '.join(known)}")
        return tuple(known[provider] for provider in self.providers or known)[:_MOST_MODELS]


def find(preset: Preset | str) -> Preset:
    """Return a preset by name, or the caller's own as it is.

    Raises:
        InvalidRequest: There is no such preset; the nearest and all are named.
    """
    if isinstance(preset, Preset):
        return preset
    if not isinstance(preset, str):
        raise invalid("preset", f"of type {type(preset).__name__}", "a name or a Preset")
    if (found := PRESETS.get(preset)) is not None:
        return found
    near = importlib.import_module("difflib").get_close_matches(preset, PRESETS, n=1)  # memory that only this error needs
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise invalid("preset", repr(preset), f"one of {', '.join(PRESETS)}{hint}, or a Preset of your own")


def expand(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's options with those of its preset beside them; what the call gives wins.

    A call that names a model or an agent takes none of the preset's models; one that names fallback models takes the first only.

    Example:
        >>> expand({"preset": Preset(name="short", system="Be brief.", options={"max_output_tokens": 50}), "seed": 7})
        {'system': 'Be brief.', 'max_output_tokens': 50, 'seed': 7}
    """
    given = {name: value for name, value in options.items() if value is not None and name != "preset"}
    if options.get("preset") is None:
        return given
    preset = find(options["preset"])
    system = {"system": preset.system} if preset.system else {}
    return {**system, **_models(preset, given), **preset.options, **given}


def _models(preset: Preset, given: Mapping[str, Any]) -> dict[str, Any]:
    if any(name in given or name in preset.options for name in _NAMES_MODELS) or not (models := preset.models):
        return {}
    if len(models) == 1 or "fallback_models" in given or given.get("strategy") == "primary":
        return {"model": models[0]}
    return {"model": models[0], "fallback_models": models[1:]}


# Temperatures are left to the models: several of those below refuse any but their own. Caller's arguments may set one.
_ALL = (
    Preset(
        name="chat",
        description="Conversation with a person",
        system=(
            "You talk with a person. Answer what was asked, in the language of the question, as shortly as it can be said well. "
            "Where you are not sure, say so; where the question can be meant in two ways, ask which."
        ),
        tier=ModelTier.STANDARD,
        providers=("openai", "anthropic", "google"),
        options={"max_output_tokens": 2_048},
    ),
    Preset(
        name="code_generation",
        description="New code from a description",
        system=(
            "You write code that others will maintain. Follow the language, libraries and style that are given; without any, take "
            "the usual ones and name them. Handle errors and edge cases, use no invented interfaces, and return complete code in "
            "fenced blocks, each with its file name, followed by at most a few sentences on what to know before using it."
        ),
        tier=ModelTier.ADVANCED,
        providers=("anthropic", "openai", "google"),
        options={"max_output_tokens": 16_384, "reasoning_effort": "medium"},
    ),
    Preset(
        name="issue_analysis",
        description="What an issue asks for, its likely cause and the next steps",
        system=(
            "You analyse an issue of a software project. State in this order: what is wanted or broken, in one sentence; kind and "
            "severity; the likely causes, most likely first, each with the evidence for it; the parts of the code concerned; what "
            "is missing to be sure; the next steps. Tell facts of the issue apart from your guesses."
        ),
        tier=ModelTier.ADVANCED,
        providers=("openai", "anthropic", "google"),
        options={"max_output_tokens": 4_096, "reasoning_effort": "medium"},
    ),
    Preset(
        name="code_review",
        description="Findings on a change, worst first",
        system=(
            "You review a change. List findings, worst first: bugs, security holes, lost data and broken contracts before "
            "performance, missing tests and readability. For each give file and line, what goes wrong and when, and the smallest "
            "correction. Leave out what a formatter or linter would say, and praise. Where there is nothing to find, say so."
        ),
        tier=ModelTier.ADVANCED,
        providers=("anthropic", "openai", "google"),
        options={"max_output_tokens": 8_192, "reasoning_effort": "high"},
    ),
    Preset(
        name="fix_suggestion",
        description="A correction for an error or a failing test",
        system=(
            "You correct an error. Say in one or two sentences what causes it, then give the smallest change that removes the "
            "cause, as a unified diff, and a test that fails without it. Where the cause is not certain, say what to look at to be "
            "sure before changing anything."
        ),
        tier=ModelTier.ADVANCED,
        providers=("openai", "anthropic", "google"),
        options={"max_output_tokens": 8_192, "reasoning_effort": "medium"},
    ),
    Preset(
        name="explanation",
        description="What code or an error message means",
        system=(
            "You explain code or messages to somebody who can program but does not know this part. Begin with what it is for, in "
            "one sentence; then how it works, step by step, in the order in which it runs; then what is surprising about it. Quote "
            "names as they are written, and do not explain the language itself."
        ),
        tier=ModelTier.STANDARD,
        providers=("openai", "anthropic", "google"),
        options={"max_output_tokens": 4_096},
    ),
)
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
"""The bundled presets by name; `dataclasses.replace` makes one of your own out of them."""
