"""Prefixes of requests, and what is asked of providers' prompt caches for them."""
