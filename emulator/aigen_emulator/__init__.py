"""A provider of language models that runs on loopback, for development, demos, tests and benchmarks.

It answers in providers' own wire formats, deterministically and for nothing, fails in every scripted way, and writes down
what a real provider would have billed. Nothing here is ever imported by the daemon.
"""
