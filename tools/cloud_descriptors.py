"""Write the descriptors that `headrace.cloud.descriptors` reads: the messages of Cloud Tasks v2, of Cloud
Scheduler v1 and of the services that both share (IAM policies, locations, operations).

    python tools/cloud_descriptors.py        rewrites src/headrace/cloud/descriptors.binpb

The sources are the installed google-cloud-tasks and google-cloud-scheduler. Services and options are left out:
they pull in google.api, and no message needs them. One option stays: it is what makes a nested message a map.
"""

from pathlib import Path

from google.cloud import scheduler_v1, tasks_v2
from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2, empty_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2

TARGET = Path(__file__).parent.parent / "src/headrace/cloud/descriptors.binpb"
ROOTS = (
    tasks_v2.BatchCreateTasksRequest.pb().DESCRIPTOR.file,
    tasks_v2.UpdateCmekConfigRequest.pb().DESCRIPTOR.file,
    scheduler_v1.CreateJobRequest.pb().DESCRIPTOR.file,
    iam_policy_pb2.DESCRIPTOR,
    locations_pb2.DESCRIPTOR,
    operations_pb2.DESCRIPTOR,
    error_details_pb2.DESCRIPTOR,
    empty_pb2.DESCRIPTOR,
)
LEFT_OUT = ("google/api/", "google/protobuf/descriptor.proto")


def bare(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    """The file's messages and enums alone."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    for field in ("service", "options", "extension", "source_code_info"):
        proto.ClearField(field)
    kept = [name for name in proto.dependency if not name.startswith(LEFT_OUT)]
    proto.ClearField("dependency")
    proto.ClearField("public_dependency")
    proto.dependency.extend(kept)
    for message in proto.message_type:
        strip_options(message)
    return proto


def strip_options(message: descriptor_pb2.DescriptorProto) -> None:
    """Clear the options of a message, of its fields and of what is nested in it, all but `map_entry`."""
    is_map_entry = message.options.map_entry
    message.ClearField("options")
    if is_map_entry:
        message.options.map_entry = True
    for field in message.field:
        field.ClearField("options")
    for nested in message.nested_type:
        strip_options(nested)


def collect(file: FileDescriptor, into: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Add `file` to `into`, after the files it depends on."""
    if file.name in into or file.name.startswith(LEFT_OUT):
        return
    for dependency in file.dependencies:
        collect(dependency, into)
    into[file.name] = bare(file)


def main() -> None:
    """Write the file."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for root in ROOTS:
        collect(root, files)
    TARGET.write_bytes(descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
