"""What can go wrong at our receiving end."""

from __future__ import annotations

from relaywatch.model.errors import RelaywatchError, UsageError


class SinkError(RelaywatchError):
    """The sink can't do its work; the message says what to do."""


class ListenError(UsageError):
    """An address and port can't be listened on."""


class KeyFileError(UsageError):
    """The key file is missing, unsafe or unreadable."""


class JournalError(SinkError):
    """The journal can't be opened or written."""


class NoCanariesError(SinkError):
    """The sink has no canaries that proxies could be led to; the message says why."""
