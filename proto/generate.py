"""Generate `client/aigen/v1` from the .proto files, or prove with --check that what is committed is fresh.

It runs in `.venv-gen`, apart from the rest: the generator's version is the floor of what a pipeline must have
(grpcio-tools 1.74 gives grpcio >= 1.74 and protobuf >= 6.31.1), while everything else runs on newer ones.
"""

import filecmp
import sys
import tempfile
from pathlib import Path

import google.rpc
import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
GENERATED = PROTO.parent / "client" / "aigen" / "v1"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
GOOGLE_RPC = Path(next(iter(google.rpc.__path__))).parent.parent


def generate(into: Path) -> None:
    """Write the modules for every .proto file below `into`, an import root."""
    sources = sorted(str(path) for path in PROTO.glob("aigen/v1/*.proto"))
    includes = [f"-I{folder}" for folder in (PROTO, WELL_KNOWN, GOOGLE_RPC)]
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *includes, *outputs, *sources]) != 0:
        raise SystemExit("protoc refused the contract; what it said stands above")
    (into / "aigen" / "v1" / "__init__.py").write_text('"""Generated from proto/aigen/v1; never edited."""\n')


def stale(fresh: Path) -> list[str]:
    """Return the names that differ between `fresh` and what is committed, or stand in only one of the two."""
    names = {path.name for folder in (fresh, GENERATED) for path in folder.iterdir() if path.suffix in (".py", ".pyi")}
    _, different, missing = filecmp.cmpfiles(fresh, GENERATED, sorted(names), shallow=False)
    return sorted([*different, *missing])


def main() -> int:
    """Generate into the tree, or compare; return the exit code."""
    if sys.argv[1:] == ["--check"]:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder))
            names = stale(Path(folder) / "aigen" / "v1")
        if names:
            print("generated code is stale, run `make proto`: " + ", ".join(names))
        return 1 if names else 0
    for path in GENERATED.glob("*_pb2*"):
        path.unlink()
    generate(GENERATED.parent.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
