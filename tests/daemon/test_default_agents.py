"""What somebody meets who asks an agent without any settings for its model."""

from pathlib import Path

import aigen

from tests.emulator_server import RunningEmulator
from tests.serving import serving

CALLS = 8  # enough to learn that the system prompt comes again


async def _asked(
    folder: Path, emulator: RunningEmulator, *, system: str = "You are brief.", **settings: object
) -> list[aigen.Completion]:
    address = emulator.provider_url(f"anthropic-{folder.name}").removesuffix("/v1")  # a prompt cache of its own
    providers = {"anthropic": {"base_url": address, "api_key": "made-up"}}
    async with serving(folder / "h", providers=providers, **settings) as house:
        return [await house.client.complete(f"hello {n}", system=system, agent="claude") for n in range(CALLS)]


async def test_short_prompts_of_the_usual_claude_are_not_marked(tmp_path: Path, emulator: RunningEmulator) -> None:
    """A model whose shortest cached prefix nobody knows is not sent marks that would do nothing, and nothing warns of them."""
    assert [answer.warnings for answer in await _asked(tmp_path, emulator)] == [()] * CALLS


async def test_a_minimum_of_the_settings_is_believed(tmp_path: Path, emulator: RunningEmulator) -> None:
    """Control: where the settings say that shorter ones are kept they are marked, and what the provider passes over is told."""
    own = {"id": "claude-sonnet-5-5", "provider": "anthropic", "min_cacheable_tokens": 1}
    answers = await _asked(tmp_path, emulator, models=[own])
    assert any("did not cache the marked prefix" in warning for answer in answers for warning in answer.warnings)


async def test_long_prompts_of_the_usual_claude_are_marked(tmp_path: Path, emulator: RunningEmulator) -> None:
    """A prefix of more than the careful minimum is written and read all the same."""
    answers = await _asked(tmp_path, emulator, system="You are brief. ".ljust(5_000 * 4, "s"))
    assert answers[-1].usage.cache_read_tokens > 4_096
