"""The generated module is made of the .proto that stands beside it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from reconciler.legacy import virtioforwarder_pb2

PROTO = Path(virtioforwarder_pb2.__file__).with_name("virtioforwarder.proto")


def test_the_generated_module_is_of_the_proto(tmp_path: Path) -> None:
    if shutil.which("protoc") is None:
        pytest.skip("no protoc (protobuf-compiler)")
    out = tmp_path / "set"
    subprocess.run(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name], check=True, timeout=60)
    (made,) = FileDescriptorSet.FromString(out.read_bytes()).file
    ours = FileDescriptorProto.FromString(virtioforwarder_pb2.DESCRIPTOR.serialized_pb)
    for message in (*made.message_type, *ours.message_type):
        _plain(message)
    assert ours == made


def _plain(message: object) -> None:
    """Without what compilers of different releases write differently: the names for JSON, and packed = false."""
    for field in message.field:  # type: ignore[attr-defined]
        field.ClearField("json_name")
    for inner in message.nested_type:  # type: ignore[attr-defined]
        _plain(inner)
