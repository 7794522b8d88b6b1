"""Gemini's wire format, with its stored caches and its batch API."""
