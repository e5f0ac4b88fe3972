import asyncio
import socket
import threading

import aiohttp
import pytest
from aiohttp import web

from offhook.base.errors import ConfigError
from offhook.base.limits import DNS_LOOKUPS_MAX
from offhook.edge.egress import METADATA_SERVICES, Egress, EgressRefused, EgressResolver, EgressUnresolved

pytestmark = pytest.mark.unit

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
PRIVATE = [
    "127.0.0.1",
    "127.255.0.9",
    "10.0.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "198.18.0.1",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.1.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::1",
    "2002:c0a8:101::1",
    "::127.0.0.1",
    "2001::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "ff02::1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    *map(str, METADATA_SERVICES),
]


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_addresses_pass(ip: str) -> None:
    Egress(allow_private=False).check_ip(ip)


@pytest.mark.parametrize("ip", PRIVATE)
def test_private_addresses_pass_only_when_allowed(ip: str) -> None:
    Egress(allow_private=True).check_ip(ip)
    with pytest.raises(EgressRefused):
        Egress(allow_private=False).check_ip(ip)


@pytest.mark.parametrize("ip", NEVER)
def test_metadata_multicast_and_reserved_never_pass(ip: str) -> None:
    egress = Egress(allow_private=True)
    with pytest.raises(EgressRefused):
        egress.check_ip(ip)
    assert egress.refused_total == 1


@pytest.mark.parametrize(
    "text", ["", "2130706433", "127.1", "0x7f.0.0.1", "example.com", "127.0.0.1 ", "::g"]
)
def test_a_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(EgressRefused):
        Egress(allow_private=True).check_ip(text)


def test_an_allowed_network_passes_and_a_denied_one_wins_over_it() -> None:
    egress = Egress(
        allow_private=False,
        allowed_networks=["10.0.0.0/8", "169.254.169.254/32"],
        denied_networks=["10.9.0.0/16", "8.8.8.0/24"],
    )
    for ip in ("10.1.2.3", "::ffff:10.1.2.3", "169.254.169.254"):
        egress.check_ip(ip)
    for ip in ("10.9.0.1", "8.8.8.8", "::ffff:8.8.8.8", "192.168.0.1"):
        with pytest.raises(EgressRefused):
            egress.check_ip(ip)


def test_a_network_that_is_none_is_a_sentence_for_a_person() -> None:
    with pytest.raises(ConfigError, match="'10/x' is not a network"):
        Egress(allow_private=False, denied_networks=["10/x"])


async def test_literals_in_any_spelling_are_checked_after_resolution() -> None:
    egress = Egress(allow_private=False)
    for host in ("127.0.0.1", "[::1]", "localhost", "2130706433", "127.1", "0x7f000001", "0177.0.0.1"):
        with pytest.raises((EgressRefused, EgressUnresolved)):
            await egress.resolve(host, 80)
    assert await Egress(allow_private=True).resolve("127.1", 80) == [("127.0.0.1", 80)]


async def test_of_mixed_answers_only_permitted_ones_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, 1, 6, "", (ip, 80)) for ip in ("10.0.0.1", "8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: answers)
    assert await Egress(allow_private=False).resolve("rebind.example", 80) == [("8.8.8.8", 80)]


async def test_a_name_without_address_says_so() -> None:
    with pytest.raises(EgressUnresolved, match=r"nothing\.invalid could not be resolved"):
        await Egress(allow_private=True).resolve("nothing.invalid", 80)
    with pytest.raises(EgressUnresolved, match="not a host name"):
        await Egress(allow_private=True).resolve("a" * 300 + ".example", 80)


async def test_a_hanging_name_server_costs_a_timeout_and_a_bounded_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: release.wait(10) and [])
    egress = Egress(allow_private=True, timeout_s=0.05)
    results = await asyncio.gather(
        *(egress.resolve(f"h{n}.example", 80) for n in range(DNS_LOOKUPS_MAX + 3)), return_exceptions=True
    )
    reasons = [result.reason for result in results if isinstance(result, EgressUnresolved)]
    assert reasons.count("the name server did not answer in time") == DNS_LOOKUPS_MAX
    assert reasons.count("too many lookups are waiting") == 3
    release.set()


async def test_the_http_pool_refuses_names_and_literals_alike() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="inside")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession(connector=Egress(allow_private=False).connector()) as session:
            for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1"):
                with pytest.raises((EgressRefused, aiohttp.ClientError)):
                    await session.get(f"http://{host}:{port}/")
        async with aiohttp.ClientSession(connector=Egress(allow_private=True).connector()) as session:
            for host in ("127.0.0.1", "localhost"):
                async with session.get(f"http://{host}:{port}/") as response:
                    assert await response.text() == "inside"
    finally:
        await runner.cleanup()


async def test_the_resolver_hands_numeric_answers_to_aiohttp() -> None:
    resolver = EgressResolver(Egress(allow_private=True))
    (found,) = await resolver.resolve("127.0.0.1", 80)
    assert (found["host"], found["port"], found["family"]) == ("127.0.0.1", 80, socket.AF_INET)
    await resolver.close()
