"""Perplexity's two wire formats: its Agent API and the chat format before it."""
