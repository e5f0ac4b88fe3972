"""Digest access authentication, the asking side (RFC 7616, RFC 2617, RFC 8760).

What a 401 or 407 asks for becomes the header that answers it. MD5, SHA-256 and SHA-512-256 with
their `-sess` forms; `qop=auth` or none. `auth-int` alone is not answered.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from offhook.proto.sip.events import Credentials, Headers
from offhook.proto.sip.message import Response
from offhook.proto.sip.values import SipSyntaxError, quote, split_values, unquote

CHALLENGES_MAX = 8
"""Challenges of one response that are looked at."""
CHALLENGE_CHARACTERS_MAX = 4_096
ANSWERS_MAX = 4
"""Refusals of one call that are answered: a proxy, the far end, and a nonce of each that grew old."""

_HASHES: dict[str, Callable[[bytes], "hashlib._Hash"]] = {
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
    "SHA-256": hashlib.sha256,
    # What most trunks ask for; a password is never sent otherwise.
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),
}
"""The algorithms, strongest first."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What one WWW-Authenticate or Proxy-Authenticate header asks for."""

    realm: str
    nonce: str
    algorithm: str
    session: bool
    """Whether the algorithm's `-sess` form is asked for."""
    opaque: str | None
    qop: bool
    """Whether `qop=auth` is offered; without any qop the form of RFC 2069 answers."""
    stale: bool
    proxy: bool

    @classmethod
    def parse(cls, value: str, *, proxy: bool) -> "Challenge | None":
        """Read a header's value; None when it is no Digest challenge that can be answered."""
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() != "digest" or len(value) > CHALLENGE_CHARACTERS_MAX:
            return None
        try:
            named = _parameters(rest)
        except SipSyntaxError:
            return None
        algorithm = named.get("algorithm", "MD5").upper()
        plain = algorithm.removesuffix("-SESS")
        offered = [item.strip().lower() for item in named.get("qop", "").split(",") if item.strip()]
        if plain not in _HASHES or "nonce" not in named or (offered and "auth" not in offered):
            return None
        return cls(
            realm=named.get("realm", ""),
            nonce=named["nonce"],
            algorithm=plain,
            session=plain != algorithm,
            opaque=named.get("opaque"),
            qop=bool(offered),
            stale=named.get("stale", "").lower() == "true",
            proxy=proxy,
        )


def challenges_of(response: Response) -> list[Challenge]:
    """Return what a 401 or 407 asks for and can be answered: of each realm the strongest algorithm."""
    found: dict[tuple[bool, str], Challenge] = {}
    for name, proxy in (("www-authenticate", False), ("proxy-authenticate", True)):
        for value in response.get_lines(name)[:CHALLENGES_MAX]:
            challenge = Challenge.parse(value, proxy=proxy)
            if challenge is None:
                continue
            known = found.get((proxy, challenge.realm))
            if known is None or _strength(challenge) < _strength(known):
                found[proxy, challenge.realm] = challenge
    return list(found.values())


class Authorizer:
    """Answers the challenges to the requests of one call, and remembers what it was asked.

    Args:
        credentials: used for every realm.
        cnonce: the client nonce, one for the call.
    """

    def __init__(self, credentials: Credentials, cnonce: str) -> None:
        self._credentials = credentials
        self._cnonce = cnonce
        self._known: dict[tuple[bool, str], Challenge] = {}
        self._counts: Counter[str] = Counter()
        self._answers_left = ANSWERS_MAX

    def learn(self, response: Response) -> bool:
        """Take a 401 or 407; return whether asking again has a chance.

        It has none when the credentials have been refused already: the same realm asks again
        and does not say that our nonce was merely old.
        """
        asked = challenges_of(response)
        if not asked or self._answers_left == 0:
            return False
        for challenge in asked:
            known = self._known.get((challenge.proxy, challenge.realm))
            if known is not None and (not challenge.stale or challenge.nonce == known.nonce):
                return False
        self._answers_left -= 1
        for challenge in asked:
            self._known[challenge.proxy, challenge.realm] = challenge
        return True

    def headers(self, method: str, uri: str) -> Headers:
        """Return the headers that let a request pass whatever has asked so far."""
        return tuple(
            (
                "Proxy-Authorization" if challenge.proxy else "Authorization",
                self._answer(challenge, method, uri),
            )
            for challenge in self._known.values()
        )

    def _answer(self, challenge: Challenge, method: str, uri: str) -> str:
        self._counts[challenge.nonce] += 1
        return answer(
            challenge,
            self._credentials,
            method=method,
            uri=uri,
            cnonce=self._cnonce,
            count=self._counts[challenge.nonce],
        )


def answer(
    challenge: Challenge,
    credentials: Credentials,
    *,
    method: str,
    uri: str,
    cnonce: str,
    count: int,
) -> str:
    """Return the value of the Authorization or Proxy-Authorization header (RFC 7616 3.4)."""
    user, realm = credentials.username, challenge.realm
    secret = _digest(challenge, user, realm, credentials.password)
    if challenge.session:
        secret = _digest(challenge, secret, challenge.nonce, cnonce)
    what = _digest(challenge, method, uri)
    if challenge.qop:
        response = _digest(challenge, secret, challenge.nonce, f"{count:08x}", cnonce, "auth", what)
    else:
        response = _digest(challenge, secret, challenge.nonce, what)
    algorithm = challenge.algorithm + ("-sess" if challenge.session else "")
    parts = [
        f"username={quote(user)}",
        f"realm={quote(realm)}",
        f"nonce={quote(challenge.nonce)}",
        f"uri={quote(uri)}",
        f'response="{response}"',
        f"algorithm={algorithm}",
    ]
    if challenge.qop or challenge.session:
        parts.append(f'cnonce="{cnonce}"')
    if challenge.qop:
        parts += ["qop=auth", f"nc={count:08x}"]
    if challenge.opaque is not None:
        parts.append(f"opaque={quote(challenge.opaque)}")
    return "Digest " + ", ".join(parts)


def _digest(challenge: Challenge, *parts: str) -> str:
    return _HASHES[challenge.algorithm](":".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _strength(challenge: Challenge) -> int:
    return list(_HASHES).index(challenge.algorithm)


def _parameters(text: str) -> dict[str, str]:
    # Digest separates by commas what the rest of SIP separates by semicolons.
    named: dict[str, str] = {}
    for item in split_values(text):
        name, equals, value = item.partition("=")
        if not equals:
            raise SipSyntaxError("challenge")
        value = value.strip()
        named.setdefault(name.strip().lower(), unquote(value) if value.startswith('"') else value)
    return named
