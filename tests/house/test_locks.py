"""Lock files: hashes for everything, wheels only, no address, and true to pyproject.toml."""

import re
import tomllib

import pytest

from tests.house import tree

LOCKS = ("dev", "runtime", "floor", "generator")
PROJECT = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENT = re.compile(r"^([a-z0-9-]+)==([^ ;]+)", re.MULTILINE)


def lock(name: str) -> str:
    """Return a lock file's text."""
    return (tree.ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")


def locked(name: str) -> dict[str, str]:
    """Return the locked version of each package."""
    return dict(REQUIREMENT.findall(lock(name)))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_address(name: str) -> None:
    """A lock file holds versions and hashes: no index, no link, no path."""
    assert re.search(r"://|--(?:extra-)?index-url|--find-links|^-e|^\.{0,2}/|@ ", lock(name), re.MULTILINE) is None


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes_and_is_a_wheel(name: str) -> None:
    """Each requirement is pinned and followed by a hash, and source distributions are refused."""
    text = lock(name)
    assert "--only-binary :all:" in text
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.splitlines()[0] for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_all_that_the_project_needs_is_locked(name: str) -> None:
    """Each dependency in pyproject.toml, of all extras and of the build, has its line."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    needed = [
        *PROJECT["project"]["dependencies"],
        *(item for extra in extras for item in extra),
        *PROJECT["dependency-groups"]["build"],
    ]
    names = {re.split(r"[\[<>=~! ]", item, maxsplit=1)[0].lower() for item in needed} - {"aigen"}
    assert names - locked(name).keys() == set()


def test_what_runs_is_what_was_tested() -> None:
    """The runtime's packages have the versions that the tests use."""
    tested = locked("dev")
    assert {name: version for name, version in locked("runtime").items() if tested.get(name) != version} == {}


def test_the_floor_is_the_oldest_that_is_allowed() -> None:
    """The floor's grpcio, protobuf and googleapis-common-protos are the lower bounds of pyproject.toml."""
    bounds = dict(re.match(r"([a-z-]+)>=([0-9.]+)", item).groups() for item in PROJECT["project"]["dependencies"])
    floor = locked("floor")
    assert {name: tuple(map(int, floor[name].split(".")))[: len(bound.split("."))] for name, bound in bounds.items()} == {
        name: tuple(map(int, bound.split("."))) for name, bound in bounds.items()
    }


def test_the_client_needs_three_packages() -> None:
    """The client alone brings grpcio, protobuf and googleapis-common-protos."""
    assert {re.split("[<>=]", item)[0] for item in PROJECT["project"]["dependencies"]} == {
        "grpcio",
        "protobuf",
        "googleapis-common-protos",
    }
