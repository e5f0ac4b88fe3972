"""Where RTP listens, as the SIP listeners say."""

import pytest

from offhook.app.server import media_address
from offhook.base.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        (["127.0.0.1"], "127.0.0.1"),
        (["127.0.0.1", "127.0.0.1"], "127.0.0.1"),
        (["0.0.0.0", "127.0.0.1"], "0.0.0.0"),
        (["127.0.0.1", "127.0.0.2"], "0.0.0.0"),
        (["::1", "0:0:0:0:0:0:0:1"], "::1"),
        (["::1", "::2"], "::"),
    ],
)
def test_rtp_listens_where_sip_does(hosts: list[str], address: str) -> None:
    assert media_address(hosts) == address


@pytest.mark.parametrize("hosts", [["127.0.0.1", "::1"], ["0.0.0.0", "::"], ["not an address"]])
def test_what_would_be_calls_without_sound_is_refused_at_the_start(hosts: list[str]) -> None:
    with pytest.raises(ConfigError, match="OFFHOOK_SIP_LISTEN"):
        media_address(hosts)
