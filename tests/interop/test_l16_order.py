"""L16 with the high byte first, for apps that want it so: told, sent and taken in that order."""

from pathlib import Path
from typing import Any

import pytest

from offhook.base.g711 import mulaw_decode
from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.capture import PacketCapture
from offhook.kit.phone import Phone
from offhook.kit.stream_server import StreamServer, StreamSession
from offhook.proto.stream import MediaFrame, ServerFrame, StartFrame
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.fakes.tones import TONE_HZ, pure_ms, tone

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


@pytest.mark.parametrize("order", ["little", "big"])
async def test_media_format_tells_the_byte_order_that_both_ways_have(tmp_path: Path, order: str) -> None:
    orders: list[str] = []
    heard: list[bytes] = []

    def on_frame(_: StreamSession, frame: ServerFrame) -> None:
        if isinstance(frame, StartFrame):
            assert (frame.media_format.encoding, frame.media_format.sample_rate_hz) == ("L16", 16_000)
            orders.append(frame.media_format.byte_order)
        elif isinstance(frame, MediaFrame):
            heard.append(frame.payload)

    async def on_event(app: App, event: dict[str, Any]) -> None:
        call = event["data"]["payload"]["call_control_id"]
        if event["data"]["event_type"] == "call.initiated":
            await app.act(
                call,
                "answer",
                stream_url=url,
                stream_codec="L16",
                stream_bidirectional_mode="rtp",
                stream_bidirectional_codec="L16",
                stream_bidirectional_sampling_rate=16_000,
            )

    apps = StreamServer(on_frame, echo=True)
    url = await apps.start()
    capture = PacketCapture()
    try:
        async with running_app(on_event) as app, Phone() as phone:
            (tmp_path / "offhook.toml").write_text(f'[stream]\nl16_byte_order = "{order}"\n')
            server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
            app.api = server.api
            try:
                plan = CallPlan(
                    uri=f"sip:app@127.0.0.1:{server.sip_port}",
                    codecs=("PCMU",),
                    play=Sound(tone(TONE_HZ, 2_000), 8_000),
                    tail_s=0.3,
                )
                await phone.call(plan, capture=capture)
                await app.wait_for(lambda app: "call.hangup" in app.types())
            finally:
                assert await stop_offhook(server) == 0
            assert app.refused == []
    finally:
        await apps.close()

    assert orders == [order]
    pcm = b"".join(heard)
    swapped = bytes(byte for pair in zip(pcm[1::2], pcm[::2], strict=True) for byte in pair)
    little, big = pure_ms(pcm, TONE_HZ, 16_000), pure_ms(swapped, TONE_HZ, 16_000)
    (right, wrong) = (big, little) if order == "big" else (little, big)
    assert right >= 1_000, "the app hears the tone in the order it was told"
    assert wrong == 0, "and not in the other"
    back = [mulaw_decode(packet[12:]) for packet in capture.received if packet[1] & 0x7F == 0]
    assert pure_ms(b"".join(back), TONE_HZ) >= 500, "what the app sends is taken in that order"
