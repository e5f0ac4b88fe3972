"""What it means that a service refuses a session, as far as all services mean the same. Pure."""

from offhook.edge.speech.vendors.dialect import Trouble

BUSY_S = 5.0
"""How long to leave a service alone that says there is too much."""


def bad_key(vendor: str) -> Trouble:
    """Return that the key is wrong."""
    return Trouble(f"{vendor} refuses the key", retry=False)


def no_funds(vendor: str) -> Trouble:
    """Return that the account cannot pay."""
    return Trouble(f"the account at {vendor} has no funds", retry=False)


def bad_request(vendor: str) -> Trouble:
    """Return that the session can never work as it was asked for."""
    return Trouble(f"{vendor} refuses what it was asked for", retry=False)


def too_many(vendor: str) -> Trouble:
    """Return that the key has all the sessions it may have."""
    return Trouble(f"{vendor} has too many sessions of this key", retry=True, retry_after_s=BUSY_S)


def refused(vendor: str, status: int) -> Trouble:
    """Return what the HTTP status of a refused handshake means; 0: nobody answered."""
    match status:
        case 0:
            return Trouble(f"{vendor} cannot be reached", retry=True)
        case 401 | 403:
            return bad_key(vendor)
        case 402:
            return no_funds(vendor)
        case 429:
            return too_many(vendor)
        case _ if 300 <= status < 500 and status != 408:
            return Trouble(f"{vendor} refuses the session with status {status}", retry=False)
        case _:
            return Trouble(f"{vendor} answers with status {status}", retry=True)
