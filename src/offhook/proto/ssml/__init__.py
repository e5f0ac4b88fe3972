"""What a voice is to say: plain text or SSML 1.1, turned into words and pauses.

Knows the markup and nothing about voices: `script_of_text` and `parse_ssml` give a `Script`, the one
thing that a voice takes. Text from outside is bounded by who calls; markup cannot grow here, because
a document type, and with it every entity of one's own, is refused.
"""

from offhook.proto.ssml.parse import parse_ssml
from offhook.proto.ssml.script import Pause, Script, Words, script_of_text
from offhook.proto.ssml.values import SsmlError

__all__ = ["Pause", "Script", "SsmlError", "Words", "parse_ssml", "script_of_text"]
