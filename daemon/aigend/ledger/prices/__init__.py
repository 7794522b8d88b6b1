"""Prices: where they come from, and what a call costs at them."""
