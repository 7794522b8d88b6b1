"""The response cache: what makes two requests equal, and the answers that are kept for the next one.

It knows requests and answers as values. Wire formats, prices and the decision when to ask it stay outside.
"""
