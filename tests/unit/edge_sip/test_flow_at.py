"""Which of several addresses a call goes to."""

from collections.abc import AsyncIterator

import pytest

from offhook.edge.sip import Listen, SipServer
from offhook.proto.sip import SipSyntaxError, UserAgentConfig

pytestmark = pytest.mark.unit


@pytest.fixture
async def server() -> AsyncIterator[SipServer]:
    server = SipServer(UserAgentConfig(), lambda event: None)
    await server.start([Listen("udp", "127.0.0.1", 0)])
    yield server
    await server.close()


async def test_the_first_address_that_a_socket_of_ours_can_reach_is_taken(server: SipServer) -> None:
    flow = server.flow_at("", ["::1", "127.0.0.2", "127.0.0.3"], 5070)
    assert (flow.transport, flow.remote) == ("udp", ("127.0.0.2", 5070))
    assert flow.local == ("127.0.0.1", server.bound[0].port)


@pytest.mark.parametrize(("transport", "hosts"), [("tls", ["127.0.0.1"]), ("", ["::1"]), ("", [])])
async def test_an_address_out_of_reach_is_no_flow(
    server: SipServer, transport: str, hosts: list[str]
) -> None:
    with pytest.raises(SipSyntaxError):
        server.flow_at(transport, hosts, 5060)
