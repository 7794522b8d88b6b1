"""Budgets: what they match, their windows, and the desk that answers for them."""
