"""The printed settings file is complete and true."""

import re

from aigend.config import Settings, default_document, load_settings
from aigend.config.keys import Kind, keys

ENVIRON = {"HOME": "/x"}


def uncommented(document: str) -> str:
    """Return the document with the keys of its example entries in force."""
    lines = [re.sub(r"^#((?:  )+(?! ).*)$", r"\1", line) for line in document.splitlines()]
    return "\n".join(re.sub(r"^(agents|providers|services|models|budgets): (\{\}|\[\])$", r"\1:", line) for line in lines)


def test_the_printed_file_loads_and_equals_the_defaults(tmp_path):
    """A file that nobody changed changes nothing."""
    path = tmp_path / "aigend.yaml"
    path.write_text(default_document())
    assert load_settings(path, ENVIRON).settings == Settings()


def test_the_examples_in_the_printed_file_load(tmp_path):
    """The entries in comments are real ones, with every key they may have."""
    path = tmp_path / "aigend.yaml"
    path.write_text(uncommented(default_document()))
    settings = load_settings(path, ENVIRON).settings
    assert list(settings.providers) == ["openai"]
    assert list(settings.services) == ["aigenflow"]
    assert [model.id for model in settings.models] == ["gpt-4o"]
    assert [budget.name for budget in settings.budgets] == ["team"]
    assert settings.agents == {"chatgpt": "openai/gpt-4o"}


def test_every_key_stands_in_the_printed_file_with_description_and_variable():
    """No key can be forgotten, and none is without a sentence."""
    document = default_document()
    flowing = re.sub(r"(?:\s+#)+\s*|\s+", " ", document)
    for key in keys():
        assert re.search(rf"^ *#? *(- )?{key.path[-1]}:", document, re.MULTILINE), key.dotted
        if key.kind is Kind.SECTION:
            assert key.section is not None
            assert key.section.__doc__ in flowing
            continue
        assert key.field.description, key.dotted
        assert key.field.description.endswith(".")
        assert key.field.description in flowing, key.dotted
        if "models" not in key.path[:-1] and "budgets" not in key.path[:1]:
            assert key.variable in document


def test_units_and_bounds_are_told():
    """A reader of the file need not guess a unit or a limit."""
    document = default_document()
    assert "seconds · above 0 to 315_576_000 · AIGEND_CACHE__TTL_S" in document
    assert "bytes · from 1_048_576 to 1_125_899_906_842_624 · AIGEND_CACHE__MAX_SIZE_BYTES" in document
    assert "next_route or same_route or stop" in document
    assert all(len(line) <= 132 for line in document.splitlines())
