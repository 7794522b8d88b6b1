"""docs/operations.md is true: the metrics it lists are those that are exported, and its settings load."""

import re
from types import SimpleNamespace

import pytest
from aigend.config import load_settings
from aigend.ledger.prices.file import parse_prices
from aigend.observing import metric_sources
from aigend.telemetry.instruments import CallCounters

from tests.fakes import FakeClock
from tests.house import tree

PAGE = (tree.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_.]+)` \| ([a-z -]+) \| `([^`]+)` \| (.+) \|$", re.MULTILINE)
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    (f"{page.name}-{number}", text)
    for page in tree.pages()
    for number, text in enumerate(YAML.findall(page.read_text(encoding="utf-8")))
]


def test_every_exported_metric_is_listed() -> None:
    """The table has one row for each metric that is exported, with kind, unit and sentence of the code."""
    sources = metric_sources(SimpleNamespace(meter=CallCounters()), clock=FakeClock())  # type: ignore[arg-type]
    exported = {(metric.name, metric.kind.value, metric.unit, metric.description) for metric in sources.metrics()}
    assert set(ROW.findall(PAGE)) == exported


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_settings_in_pages_can_be_used(text, tmp_path) -> None:
    """Each block of settings or prices loads as it stands."""
    if text.startswith("version:"):
        assert parse_prices(text, name="prices.yaml").models
        return
    path = tmp_path / "aigend.yaml"
    path.write_text(text, encoding="utf-8")
    load_settings(path, {"HOME": str(tmp_path), "OPENAI_API_KEY": "made-up"})
