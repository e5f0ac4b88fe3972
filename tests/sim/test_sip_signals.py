"""INFO and REFER between two user agents over a network that loses, doubles and reorders."""

import pytest

from offhook.proto.sip import CallAccepted, InfoAnswered, InfoReceived, ReferAnswered
from tests.sim.sip_net import IncomingCall, Link, Net, Phone

pytestmark = pytest.mark.sim

INFOS = 20
SEEDS = 20


def _answers(net: Net, phone: Phone) -> None:
    def act(event: object) -> None:
        if isinstance(event, IncomingCall):
            phone.agent.accept(event.call, b"v=0\r\n", net.now)

    phone.on_event = act


def _signals(net: Net, phone: Phone) -> None:
    def act(event: object) -> None:
        if isinstance(event, CallAccepted):
            for number in range(INFOS):
                phone.agent.info(event.call, "text/plain", str(number).encode(), net.now)
            net.after(700, lambda: phone.agent.refer(event.call, "sip:desk@pbx.example", net.now))
            net.after(900, lambda: phone.agent.hangup(event.call, net.now))
            for at in (700, 900):
                net.after(at, lambda: net.pump(phone))

    phone.on_event = act


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_infos_arrive_once_and_in_order_and_each_request_has_one_verdict(loss: float) -> None:
    for seed in range(SEEDS):
        net = Net(seed, Link(loss=loss, duplicates=0.1, delay_s=(0.001, 0.3)))
        caller, callee = net.phone(5070), net.phone(5080)
        _answers(net, callee)
        _signals(net, caller)
        call = caller.call(callee)
        net.run()
        told = caller.told[call]
        if isinstance(told[0], CallAccepted):
            verdicts = [event.status for event in told if isinstance(event, InfoAnswered)]
            assert len(verdicts) == INFOS, f"seed {seed}"
            assert [type(event) for event in told].count(ReferAnswered) == 1
            heard = [
                int(event.body)
                for events in callee.told.values()
                for event in events
                if isinstance(event, InfoReceived)
            ]
            assert heard == sorted(set(heard)), f"seed {seed}: once each, in order"
            assert len(heard) >= verdicts.count(200)
            if loss == 0:
                assert heard == list(range(INFOS))
        assert caller.agent.is_idle()
        assert callee.agent.is_idle()
