"""URLs under which a file of a recording can be had without a key, for a while."""

import hashlib
import hmac
from urllib.parse import urlencode

from offhook.base import limits
from offhook.base.clock import Clock

PATH = "/v2/recordings/files"
_PURPOSE = b"recording url\0"


class RecordingUrls:
    """Makes and checks signed URLs.

    Args:
        secret: of this installation.
        base_url: what the URLs begin with, without a path of the API.
    """

    def __init__(self, secret: bytes, clock: Clock, base_url: str = "") -> None:
        self.base_url = base_url
        self._secret = secret
        self._clock = clock

    def url(self, recording_id: str, extension: str) -> str:
        """Return a URL that can be used for ten minutes (contract 3.4)."""
        expires = round(self._clock.unix_time() + limits.RECORDING_URL_VALID_S)
        name = f"{recording_id}.{extension}"
        query = urlencode({"expires": expires, "signature": self._sign(name, str(expires))})
        return f"{self.base_url}{PATH}/{name}?{query}"

    def accepts(self, name: str, expires: str, signature: str) -> bool:
        """Tell whether such a URL was made here and is still good."""
        signed = hmac.compare_digest(self._sign(name, expires).encode(), signature.encode())
        return signed and self._clock.unix_time() <= int(expires)

    def _sign(self, name: str, expires: str) -> str:
        text = _PURPOSE + f"{name}\0{expires}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
