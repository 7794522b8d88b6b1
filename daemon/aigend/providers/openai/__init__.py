"""OpenAI's two wire formats, chat completions and responses, with its batch API."""
