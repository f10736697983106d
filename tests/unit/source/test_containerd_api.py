from kinety.source.containerd_api import Container, ContainerAnswer, ContainerEvent, Envelope, Payload


def test_fields_that_are_not_read_are_skipped() -> None:
    """As protobuf encodes a ``Container`` with an image (3) and a time (8), and an event with labels (3)."""
    labels = b"\x12\x0a\x0a\x03app\x12\x03web" + b"\x12\x05\x0a\x03key"
    container = b"\x0a\x02c1" + labels + b"\x1a\x05image" + b"\x42\x02\x08\x01"
    answer = ContainerAnswer.parse(b"\x0a" + bytes([len(container)]) + container)
    assert answer.container is not None
    assert (answer.container.id, answer.container.labels) == ("c1", {"app": "web", "key": ""})
    assert ContainerEvent.parse(b"\x0a\x02c1\x12\x05image" + labels.replace(b"\x12", b"\x1a", 1)).id == "c1"


def test_what_is_written_is_read_again() -> None:
    event = Envelope(namespace="n", topic="/t", event=Payload(type_url="u", value=b"\0v"))
    again = Envelope.parse(bytes(event))
    assert (again.namespace, again.topic, again.event) == ("n", "/t", event.event)
    assert ContainerAnswer.parse(b"").container is None
    assert Container.parse(bytes(Container(id="c", labels={"a": "b"}))).labels == {"a": "b"}
