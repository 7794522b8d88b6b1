"""Where a provider is, as far as that changes what is allowed."""

import ipaddress
from urllib.parse import urlsplit


def on_loopback(base_url: str) -> bool:
    """Return whether an address is on this machine, by its spelling alone.

    Example:
        >>> on_loopback("http://127.0.0.1:8000/v1"), on_loopback("https://127.example.com/v1")
        (True, False)
    """
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
