"""aigen: one door for every call to a language model, with its cache, its scheduler and its ledger behind it.

```python
import aigen

client = aigen.Client()
answer = client.complete("Say hello", model="gpt-4o-mini")
print(answer.text, answer.cost_usd)
```

`Client` is for ordinary programs, `AsyncClient` for asyncio; both have the same methods. Results are frozen values, money is exact,
and every failure is an `AigenError`, whose tree stands in `aigen.errors`. For tests of programs that use aigen, `aigen.testing`
holds a daemon that costs nothing. Nothing here but gRPC and protobuf is imported, and
that only once a name is used: who needs the messages of `aigen.v1` alone does not pay for the client.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigen._api import *  # noqa: F403 - checkers see every name; at run time `__getattr__` finds it
    from aigen._api import __all__ as __all__


def __getattr__(name: str) -> Any:
    """Return a public name or submodule; the first name loads the client.

    Raises:
        AttributeError: There is no such name.
    """
    if name.islower() and not name.startswith("__"):  # modules are written so; one that is loading may ask for another
        try:
            return importlib.import_module(f"aigen.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"aigen.{name}":
                raise
    api = importlib.import_module("aigen._api")
    if name != "__all__" and name not in api.__all__:
        raise AttributeError(f"module 'aigen' has no attribute {name!r}")
    globals()[name] = value = getattr(api, name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*globals(), *importlib.import_module("aigen._api").__all__})
