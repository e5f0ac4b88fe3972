"""URLs as they may be shown: to a person, in a log line, in an answer of the API."""

from urllib.parse import urlsplit, urlunsplit


def masked_url(url: str) -> str:
    """Return a URL without user, password and query, each of which may be a secret.

    What was left out is marked by `...`; text that is no URL becomes nothing but that mark.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "..."
    netloc = f"...@{host}" if "@" in parts.netloc else host
    return urlunsplit((parts.scheme, netloc, parts.path, "..." if parts.query else "", ""))
