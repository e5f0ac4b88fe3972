"""The roots of Offhook's exceptions.

OffhookError
 +-- ConfigError      a person must change something: one sentence, exit status 2
 +-- LimitReached     a bound of `offhook.base.limits` was met
"""


class OffhookError(Exception):
    """Root of every exception that Offhook raises on purpose."""


class ConfigError(OffhookError):
    """Something outside the program must change before it can run.

    The text is one sentence that names the thing and says what to do; the CLI prints it alone
    and exits with status 2.
    """


class LimitReached(OffhookError):
    """A bound was met and the thing asked for was not started; the text names the bound."""
