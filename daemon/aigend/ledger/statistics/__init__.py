"""Statistics: roll-ups and counted hits, and the sums that are asked of them."""
