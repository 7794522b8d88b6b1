"""Anthropic's wire format, by its own API and by Amazon Bedrock, with its batch API."""
