import pytest

from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import Label


def test_a_listen_is_text_and_a_label_both_ways() -> None:
    for text in ("http=80/TCP", "dns=53/UDP", "x=1/SCTP"):
        listen = Listen.parse(text)
        assert str(listen) == text
        assert Listen.of(listen.label) == listen
    assert Listen.parse("http=80").label == Label("port", "http", "80/TCP")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http", "as in http=80/TCP"),
        ("=80/TCP", "as in http=80/TCP"),
        ("http=eighty", "as in http=80/TCP"),
        ("http=-1", "as in http=80/TCP"),
        ("http=0/TCP", "write 1 to 65535"),
        ("http=65536/TCP", "write 1 to 65535"),
        ("http=80/tcp", "write one of TCP, UDP, SCTP"),
    ],
)
def test_what_is_no_listen_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Listen.parse(text)


def test_all_labels_are_its_own_and_those_of_its_ports() -> None:
    own = frozenset({Label("k8s", "app", "web")})
    plain = Endpoint(EndpointId(1), "default", "web", own, None, None)
    assert plain.all_labels is own
    listening = Endpoint(EndpointId(1), "default", "web", own, None, None, frozenset({Listen("http", 6, 80)}))
    assert listening.all_labels == own | {Label("port", "http", "80/TCP")}
