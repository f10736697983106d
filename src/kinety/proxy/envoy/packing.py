"""Messages inside of messages, the way Envoy's extensions are configured."""

from envoy.config.core.v3 import extension_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message


def packed(message: Message) -> any_pb2.Any:
    """A message with its type. Equal messages become equal bytes."""
    found = any_pb2.Any()
    found.Pack(message, deterministic=True)
    return found


def extension(name: str, message: Message) -> extension_pb2.TypedExtensionConfig:
    """An extension by its full name, configured."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))
