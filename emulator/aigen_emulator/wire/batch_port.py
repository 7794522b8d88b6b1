"""What a provider's batch API must be able to say, so that the service need not know any of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aigen_emulator.wire.port import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request about files or jobs."""

    operation: str  # upload, create, list, retrieve, results or cancel
    provider: str  # named in the address; "" for none
    target: str = ""  # id of a file or job
    base_url: str = ""  # where the caller reached the server, up to the provider's name
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is answered."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: bytes = b"application/json"


class BatchWire(Protocol):
    """One provider's batch API."""

    @property
    def manners(self) -> Wire:
        """Its headers, keys and errors."""
        ...

    def place(self, method: str, path: str) -> tuple[str, str] | None:
        """Return the operation and the id that an address names; None where it is none of this API's."""
        ...

    async def answer(self, asked: Asked) -> Told:
        """Do what is asked. Raises RefusalError as the provider would."""
        ...
