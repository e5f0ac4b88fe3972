"""Azure's own SDK, talking to the address it is given: prints what it is told.

Arguments: address, key, a file of 8 kHz s16le, and perhaps "auto" to have the language found out.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import azure.cognitiveservices.speech as azure


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def words(result: Any) -> list[Any]:
    best = json.loads(result.json).get("NBest") or [{}]
    return [[item["Word"], item["Offset"] // 10_000] for item in best[0].get("Words", [])]


def main(url: str, key: str, file: str, language: str = "") -> None:
    path = "/speech/universal/v2" if language else "/speech/recognition/conversation/cognitiveservices/v1"
    config = azure.SpeechConfig(endpoint=url + path, subscription=key)
    config.output_format = azure.OutputFormat.Detailed
    config.request_word_level_timestamps()
    config.set_property(azure.PropertyId.Speech_SegmentationSilenceTimeoutMs, "400")
    stream = azure.audio.PushAudioInputStream(azure.audio.AudioStreamFormat(8000, 16, 1))
    more: dict[str, Any] = {}
    if language:
        languages = azure.languageconfig.AutoDetectSourceLanguageConfig(languages=["en-US", "de-DE"])
        more = {"auto_detect_source_language_config": languages}
    else:
        config.speech_recognition_language = "en-US"
    recognizer = azure.SpeechRecognizer(config, azure.audio.AudioConfig(stream=stream), **more)
    done = threading.Event()
    failed: list[Any] = []

    def recognized(event: Any) -> None:
        result = event.result
        if result.reason == azure.ResultReason.RecognizedSpeech:
            found = azure.AutoDetectSourceLanguageResult(result).language if language else None
            start_ms = result.offset // 10_000
            say(kind="final", text=result.text, start_ms=start_ms, words=words(result), language=found)

    def canceled(event: Any) -> None:
        details = event.cancellation_details
        say(kind="canceled", reason=details.reason.name, code=details.code.name)
        failed.extend([details.code] if details.reason == azure.CancellationReason.Error else [])
        done.set()

    recognizer.recognizing.connect(lambda event: say(kind="partial", text=event.result.text))
    recognizer.recognized.connect(recognized)
    recognizer.canceled.connect(canceled)
    recognizer.session_stopped.connect(lambda _: say(kind="stopped"))
    recognizer.start_continuous_recognition_async()
    stream.write(Path(file).read_bytes())
    stream.close()
    if not done.wait(30):
        say(kind="hangs")
    if failed:
        os._exit(0)  # the SDK would wait for a stop that cannot come
    began_s = time.monotonic()
    recognizer.stop_continuous_recognition_async().get()
    say(kind="end", quick=time.monotonic() - began_s < 5)


main(*sys.argv[1:])
