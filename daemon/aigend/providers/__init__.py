"""Calls to providers through their own SDKs: one port, adapters for wire formats, and what follows from each fault.

Money, routes and retries as such are other rooms'; here a fault is named, and its consequence looked up.
"""
