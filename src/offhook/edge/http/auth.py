"""Bearer keys. A key is compared by its hash and in constant time, and never kept as text."""

import hashlib
import hmac
from collections.abc import Iterable


def bearer_of(authorization: str | None) -> str | None:
    """Return the key of an Authorization header; None where there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


class ApiKeys:
    """The accepted API keys of this installation."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys if key)

    def accepts(self, presented: str) -> bool:
        """Tell whether `presented`, as it stood in the header, is one of the keys."""
        # Header text is latin-1 on its way through ASGI; back to the bytes that were sent.
        digest = hashlib.sha256(presented.encode("latin-1", "replace")).digest()
        accepted = False
        for known in self._digests:
            # No early exit: the time must not tell which key matched.
            accepted |= hmac.compare_digest(known, digest)
        return accepted
