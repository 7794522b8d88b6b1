"""Who gets the same connections."""

from aigend.providers.pooling import one_pool, pooled


def test_one_block_and_one_address_mean_the_same_connections() -> None:
    """Inside a block an address has one set of connections; another address, another block and no block have their own."""
    with one_pool():
        first = pooled(list, "https://a", list)
        assert pooled(list, "https://a", list) is first
        assert pooled(list, "https://b", list) is not first
        assert pooled(dict, "https://a", dict) == {}
    with one_pool():
        assert pooled(list, "https://a", list) is not first
    assert pooled(list, "https://a", list) is not pooled(list, "https://a", list)
