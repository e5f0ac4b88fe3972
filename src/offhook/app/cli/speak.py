"""`offhook speak`: hear what a call would hear."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from offhook.app.cli.output import people, print_json
from offhook.app.cli.serve import ConfigOption
from offhook.app.settings import load_settings
from offhook.app.voice import make_voice
from offhook.base.errors import ConfigError
from offhook.base.limits import SPEAK_CHARACTERS_MAX
from offhook.edge.voice.protocol import VoiceError
from offhook.edge.voice.service import VoiceService
from offhook.kit.audio import WavWriter
from offhook.proto.ssml import Script, SsmlError, parse_ssml, script_of_text


def speak(
    *,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    out: Annotated[Path, typer.Option("--out", metavar="F.wav", help="Write it into this file.")],
    ssml: Annotated[bool, typer.Option("--ssml", help="TEXT is SSML.")] = False,
    voice: Annotated[
        str, typer.Option("--voice", metavar="NAME", help="The voice, as an app would name it.")
    ] = "female",
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Let the voice say a text into a wav file.

    It is what `speak` says to a call. Needs the extra `offhook[voice]` and no server.
    """
    settings = load_settings(config=config, flags={})
    script = _script(text, ssml=ssml)
    audio_s = asyncio.run(_write(make_voice(settings.voice), script, voice, out))
    if json:
        print_json({"file": str(out), "audio_s": round(audio_s, 3)})
    else:
        people.print(f"{audio_s:.1f} s in {out}", soft_wrap=True, markup=False)
    return 0


def _script(text: str, *, ssml: bool) -> Script:
    if len(text) > SPEAK_CHARACTERS_MAX:
        raise ConfigError(f"The text has more than {SPEAK_CHARACTERS_MAX} characters.")
    try:
        return parse_ssml(text) if ssml else script_of_text(text)
    except SsmlError as error:
        raise ConfigError(f"The text cannot be spoken: {error}.") from None


async def _write(service: VoiceService, script: Script, voice: str, out: Path) -> float:
    try:
        await service.inspect()
        rate_hz = service.check(voice).sample_rate_hz
        written = 0
        writer = WavWriter(out, sample_rate_hz=rate_hz)
        try:
            async with aclosing(service.speak(script, voice)) as pieces:
                async for pcm in pieces:
                    writer.write(pcm)
                    written += len(pcm)
        finally:
            writer.close()
    except VoiceError as error:
        raise ConfigError(f"The text cannot be spoken: {str(error).rstrip('.')}.") from None
    finally:
        await service.close()
    return written / 2 / rate_hz
