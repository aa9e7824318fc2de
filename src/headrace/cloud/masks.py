"""Update masks: which fields of a message another one replaces."""

from headrace.cloud.descriptors import Message
from headrace.cloud.errors import bad_mask


def copy_field(source: Message, target: Message, path: str) -> None:
    """Make the field at `path`, in snake_case with dots, what it is in `source`, unset included.

    ApiError when there is no such field, or when the path goes on into a map, a list or a plain value.
    """
    refusal = bad_mask(source.DESCRIPTOR.name, path)
    *parents, leaf = path.split(".")
    for name in parents:
        field = source.DESCRIPTOR.fields_by_name.get(name)
        if field is None or field.message_type is None or field.is_repeated:
            raise refusal
        source, target = getattr(source, name), getattr(target, name)
    if leaf not in source.DESCRIPTOR.fields_by_name:
        raise refusal
    target.ClearField(leaf)
    for field, value in source.ListFields():
        if field.name == leaf:
            target.MergeFrom(type(source)(**{leaf: value}))
