"""Pages of a list in memory."""

import pytest
from aigend.errors import DomainError
from aigend.rpc.paging import DEFAULT_PAGE, LARGEST_PAGE, check_page_size, page


def test_pages_join_to_the_list():
    """Each page says where the next begins, the last one that there is none."""
    items, token, seen = list(range(7)), "", []
    for _ in range(3):
        shown, token = page(items, page_size=3, page_token=token)
        seen.append(list(shown))
    assert (seen, token) == ([[0, 1, 2], [3, 4, 5], [6]], "")


def test_size_is_defaulted_clamped_and_checked():
    """0 is the default, too much is clamped, negative is refused."""
    assert (check_page_size(0), check_page_size(5_000), check_page_size(9)) == (DEFAULT_PAGE, LARGEST_PAGE, 9)
    with pytest.raises(DomainError, match="page_size"):
        check_page_size(-1)


@pytest.mark.parametrize("token", ["x", "LTU=", "bm8=", "ä"])
def test_token_of_somebody_else_is_refused(token: str):
    """A token is opaque: one that we did not make names itself."""
    with pytest.raises(DomainError, match="page_token"):
        page([1, 2], page_size=1, page_token=token)
