from kinety import abi
from kinety.datapath.live_flows import LiveFlow, live_flows
from kinety.model.address import pack_address

LOW, HIGH = pack_address("10.0.0.1"), pack_address("10.0.0.2")
FLAG = abi.ConntrackFlag


def row(flags: int, verdict: abi.Verdict = abi.Verdict.ALLOW) -> tuple[bytes, bytes]:
    key = abi.FlowKey(low=LOW, high=HIGH, low_port=4000, high_port=80, protocol=6)
    decided = abi.Decision(
        remote_identity=1, epoch=1, generation=1, rule=0, proxy_port=0, verdict=int(verdict), flags=0
    )
    unasked = abi.Decision.unpack(bytes(abi.Decision.SIZE))
    entry = abi.ConntrackEntry(
        last_seen=1,
        flags=flags,
        decision=(unasked, decided),
        forward_packets=1,
        forward_bytes=1,
        reply_packets=0,
        reply_bytes=0,
    )
    return key.pack(), entry.pack()


def test_the_one_who_opened_it_is_the_source() -> None:
    assert list(live_flows([row(0)], {HIGH})) == [LiveFlow(LOW, HIGH, 6, 80, False)]
    assert list(live_flows([row(FLAG.INITIATOR_HIGH)], {HIGH})) == [LiveFlow(HIGH, LOW, 6, 4000, False)]


def test_what_a_proxy_has_is_said() -> None:
    (found,) = live_flows([row(0, abi.Verdict.REDIRECT)], {LOW})
    assert found.redirected


def test_what_is_closed_or_of_others_is_left_out() -> None:
    assert not list(live_flows([row(FLAG.RESET), row(FLAG.FIN_FORWARD | FLAG.FIN_REPLY)], {LOW}))
    assert len(list(live_flows([row(FLAG.FIN_FORWARD)], {LOW}))) == 1
    assert not list(live_flows([row(0)], {pack_address("10.0.0.3")}))
