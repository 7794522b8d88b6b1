"""What a paid call asks of its provider's prompt cache, and what became of it."""
