"""Archived months: their files, and what of them stays in the ledger."""
