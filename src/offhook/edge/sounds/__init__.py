"""Sound files that callers of the API name: fetched through the egress gate, decoded, held in bounds.

Knows files and formats. Does not know calls, nor when or how often a sound is played.
"""

from offhook.edge.sounds.library import SoundLibrary
from offhook.edge.sounds.sound import Sound, SoundError

__all__ = ["Sound", "SoundError", "SoundLibrary"]
