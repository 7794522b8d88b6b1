"""Paragraphs that read like a business plan and take up the words of the question.

Plausible text of plausible length; what it says is made up.
"""

import re

from aigen_emulator.dice import Dice

_WORD = re.compile(r"[A-Za-z][a-z]{5,18}")
_LOOK_BACK = 2_000  # characters at the end of a prompt that words are taken from
_ORDINARY = frozenset(
    (
        "should",
        "before",
        "because",
        "through",
        "answer",
        "please",
        "however",
        "between",
        "without",
        "another",
        "various",
        "provide",
        "return",
        "consider",
        "following",
        "summary",
        "context",
        "business",
        "sentence",
        "paragraph",
        "research",
        "strategy",
        "writing",
        "review",
        "framing",
        "section",
        "earlier",
    )
)
_FALLBACK_TOPICS = ("the product", "the market", "early customers", "the service", "distribution", "onboarding")
_SENTENCES = (
    "The plan starts from {a}, because that is where customers already spend time and money.",
    "Interviews with {n} prospective buyers put {a} ahead of {b} when they name what would make them switch.",
    "We expect {a} to reach {p} percent of the addressable segment within {m} months of launch.",
    "Competitors treat {b} as an afterthought, which leaves room for an offer built around {a}.",
    "Pricing follows value: a starter tier near {d} dollars a month, and a team tier at {m} times that amount.",
    "Gross margin rises from {p} percent to {q} percent once {b} needs no manual work.",
    "The main risk is {b}; the team limits it with a pilot of {m} weeks before any larger commitment.",
    "Regulation around {a} differs by region, so the first release stays with two jurisdictions.",
    "Customer acquisition relies on partners who already sell {b} and earn a share of {p} percent.",
    "A staff of {m} covers product, sales and support until revenue passes {n} thousand dollars a quarter.",
    "Each milestone has one owner, one measure and one date, which keeps {a} and {b} from drifting apart.",
    "Break-even falls in quarter {k}, assuming churn below {k} percent and steady demand for {a}.",
    "The next step is a landing page for {a}, measured by sign-ups rather than by page views.",
    "Support costs stay low because every promise about {b} is documented before it is sold.",
    "Cash on hand covers {m} months, and a slower path through {b} stretches it by a further {k}.",
    "Success after one year means {n} paying accounts, of which a third came for {a} and stayed for {b}.",
)


def topics(question: str) -> tuple[str, ...]:
    """Return the telling words of a question, latest first, or ordinary business nouns where it has none."""
    words = dict.fromkeys(word.lower() for word in reversed(_WORD.findall(question[-_LOOK_BACK:])))
    telling = tuple(word for word in words if word not in _ORDINARY)[:8]
    return telling if len(telling) >= 2 else _FALLBACK_TOPICS


def sentence(dice: Dice, about: tuple[str, ...], *, index: int | None = None) -> str:
    """Return one sentence about some of the topics; `index` says which, None leaves it to the dice."""
    first = dice.below(len(about))
    form = dice.pick(_SENTENCES) if index is None else _SENTENCES[index % len(_SENTENCES)]
    return form.format(
        a=about[first],
        b=about[(first + 1) % len(about)],
        n=dice.between(12, 480),
        p=dice.between(4, 38),
        q=dice.between(41, 79),
        m=dice.between(3, 18),
        k=dice.between(2, 9),
        d=dice.between(9, 49),
    )


def paragraphs(dice: Dice, about: tuple[str, ...], *, length: int) -> str:
    """Return whole sentences of at least `length` characters, broken into paragraphs."""
    pieces: list[str] = []
    size = 0
    index, stride = dice.below(len(_SENTENCES)), 2 * dice.below(len(_SENTENCES) // 2) + 1  # odd: each once before any twice
    while size < length:
        pieces.append(sentence(dice, about, index=index))
        index += stride
        pieces.append("\n\n" if len(pieces) % 10 == 9 else " ")
        size += len(pieces[-1]) + len(pieces[-2])
    return "".join(pieces).rstrip()


def phrase(dice: Dice, about: tuple[str, ...]) -> str:
    """Return a few words, for the values of structured answers."""
    return f"{dice.pick(('focus on', 'prepare', 'measure', 'extend', 'review'))} {dice.pick(about)}"
