"""Calls through a trunk that challenges them, over a network that loses, doubles and reorders."""

import random

import pytest

from offhook.proto.sip import CallStateError, Credentials, IncomingCall
from offhook.proto.sip.digest import Challenge, answer
from tests.sim.sip_net import LAST_EVENTS, CallAccepted, CallRejected, Link, Net, Phone

pytestmark = pytest.mark.sim

US = Credentials("us", "secret")
BATCH = 40
SEEDS = 5


def _plays_trunk(net: Net, phone: Phone, dice: random.Random) -> None:
    """Ask every caller who it is; some nonces grow old at once."""
    fresh: set[str] = set()

    def act(event: object) -> None:
        if not isinstance(event, IncomingCall):
            return
        told = {name.lower(): value for name, value in event.headers}
        known = _nonce_of(told.get("authorization", ""))
        try:
            if known in fresh and _right(told["authorization"], known, event.request_uri):
                phone.agent.accept(event.call, b"v=0\r\n", net.now)
                return
            nonce = f"n{dice.getrandbits(64):x}"
            if known is None or dice.random() < 0.5:
                fresh.add(nonce)
            stale = ", stale=true" if known is not None and known not in fresh else ""
            asks = f'Digest realm="trunk", nonce="{nonce}", algorithm=SHA-256, qop="auth"{stale}'
            phone.agent.reject(event.call, 401, net.now, headers=(("WWW-Authenticate", asks),))
        except CallStateError:
            return

    phone.on_event = act


def _nonce_of(authorization: str) -> str | None:
    return authorization.partition('nonce="')[2].partition('"')[0] or None


def _right(authorization: str, nonce: str, uri: str) -> bool:
    asked = Challenge.parse(
        f'Digest realm="trunk", nonce="{nonce}", algorithm=SHA-256, qop="auth"', proxy=False
    )
    assert asked is not None
    cnonce = authorization.partition('cnonce="')[2].partition('"')[0]
    count = int(authorization.partition("nc=")[2][:8], 16)
    return authorization == answer(asked, US, method="INVITE", uri=uri, cnonce=cnonce, count=count)


def _hangs_up_later(net: Net, phone: Phone) -> None:
    def act(event: object) -> None:
        if isinstance(event, CallAccepted):
            net.after(40, lambda: _hang_up(net, phone, event))

    phone.on_event = act


def _hang_up(net: Net, phone: Phone, event: CallAccepted) -> None:
    phone.agent.hangup(event.call, net.now)
    net.pump(phone)


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("credentials", [US, Credentials("us", "wrong"), None])
def test_every_challenged_call_has_one_verdict_and_leaves_nothing(
    loss: float, credentials: Credentials | None
) -> None:
    for seed in range(SEEDS):
        net = Net(seed, Link(loss=loss, duplicates=0.1, delay_s=(0.001, 0.3)))
        caller, trunk = net.phone(5070), net.phone(5080)
        _plays_trunk(net, trunk, random.Random(seed))
        _hangs_up_later(net, caller)
        for _ in range(BATCH):
            caller.call(trunk, credentials=credentials)
        net.run()
        assert len(caller.told) == BATCH
        for call, told in caller.told.items():
            last = [event for event in told if isinstance(event, LAST_EVENTS)]
            assert last == told[-1:], f"seed {seed} loss {loss}: {caller.names(call)}"
            if credentials is not US:
                assert isinstance(last[0], CallRejected)
                assert last[0].status in (401, 408)
            elif loss == 0:
                assert isinstance(told[0], CallAccepted), caller.names(call)
        assert caller.agent.is_idle()
        assert trunk.agent.is_idle()
