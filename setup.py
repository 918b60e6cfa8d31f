"""Compiles the gateway's .proto when isthmus is built; all else stands in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = Path(__file__).resolve().parent / "orchestrator" / "gateway" / "open_inference.proto"


def compile_proto() -> None:
    """Write the descriptors beside their source."""
    from grpc_tools import protoc

    target = PROTO.with_suffix(".binpb")
    if protoc.main(["protoc", f"--proto_path={PROTO.parent}", f"--descriptor_set_out={target}", str(PROTO)]):
        raise SystemExit(f"{PROTO} could not be compiled")


class WithProto(build_py):
    """Also of an editable installation, where it writes into the source folder."""

    def run(self) -> None:
        """As usual, once the descriptors are there."""
        compile_proto()
        super().run()


setup(cmdclass={"build_py": WithProto})
