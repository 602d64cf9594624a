"""Errors a user can mend: each is one message that names what is wrong and how to put it right.

The command line turns any of them, and any ``ValueError`` subclass of the other packages, into exit status 2.
"""


class ConfigError(ValueError):
    """A config that cannot be used; the message names the key, its value, what is allowed and the nearest key."""


class RunError(ValueError):
    """A run, or a run's folder, that cannot be made, read or verified."""
