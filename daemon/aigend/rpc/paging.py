"""Pages of a list that lies in memory, and numbers as page tokens."""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from aigend.errors import invalid

DEFAULT_PAGE = 50
LARGEST_PAGE = 1_000
T = TypeVar("T")


def check_page_size(page_size: int) -> int:
    """Return the size of a page: 0 is the default, too much is clamped.

    Raises:
        DomainError: INVALID_REQUEST for a negative size.
    """
    if page_size < 0:
        raise invalid("page_size", page_size, f"0 to {LARGEST_PAGE}")
    return min(page_size or DEFAULT_PAGE, LARGEST_PAGE)


def page(items: Sequence[T], *, page_size: int, page_token: str) -> tuple[Sequence[T], str]:
    """Return one page and the token of the next; an empty token ends the list.

    Raises:
        DomainError: INVALID_REQUEST for a bad size or token.
    """
    size = check_page_size(page_size)
    start = unpack_number(page_token) or 0
    rest = start + size < len(items)
    return items[start : start + size], pack_number(start + size) if rest else ""


def pack_number(number: int) -> str:
    """Return a number as an opaque token."""
    return base64.urlsafe_b64encode(str(number).encode()).decode()


def unpack_number(token: str) -> int | None:
    """Return the number of a token; None of an empty one.

    Raises:
        DomainError: INVALID_REQUEST for a token that was not made here.
    """
    if not token:
        return None
    try:
        position = int(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error) as error:
        raise invalid("page_token", token, "next_page_token of the page before") from error
    if position < 0:
        raise invalid("page_token", token, "next_page_token of the page before")
    return position
