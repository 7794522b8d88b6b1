"""The requests of the hot path: 2 KB in, and spellings of the same question that are new bytes each time."""

from collections.abc import Iterator

from aigen.v1 import completion_pb2

SENTENCE = (
    "market research plan for a small bakery that wants to open a second shop in a quiet street near the river with fresh "
    "bread every morning and coffee that people like to drink while they read the paper and talk about their children "
)
PROMPT_BYTES = 2_000


def prompt() -> str:
    """Return about 2 KB of plain words."""
    text = ""
    while len(text) < PROMPT_BYTES:
        text += SENTENCE
    return text[:PROMPT_BYTES].strip()


def request(text: str, *, model: str, max_output_tokens: int = 170) -> bytes:
    """Return a serialized CompleteRequest."""
    message = completion_pb2.CompleteRequest(prompt=text, model=model, max_output_tokens=max_output_tokens)
    return message.SerializeToString(deterministic=True)


def respelled(text: str, *, model: str, start: int = 1) -> Iterator[bytes]:
    """Yield the same question in bytes that never repeat: upper and lower case count in binary through its letters."""
    letters = [index for index, letter in enumerate(text) if letter.isascii() and letter.isalpha()][:40]
    number = start
    while True:
        spelled = list(text)
        for bit, index in enumerate(letters):
            if number >> bit & 1:
                spelled[index] = spelled[index].upper()
        yield request("".join(spelled), model=model)
        number += 1


def account() -> bytes:
    """Return accounting metadata of an ordinary size."""
    return completion_pb2.Accounting(session="bench", task="measure").SerializeToString(deterministic=True)
