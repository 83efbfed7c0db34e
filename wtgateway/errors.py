"""The error tree of wtgateway. Every message says what to do next.

* :exc:`WtgatewayError`
    * :exc:`ConfigError`: a setting is wrong (names file, key, value, what was expected)
    * :exc:`CertificateError`: the certificate store cannot be used
    * :exc:`SourceError`: a source cannot be opened or broke
        * :exc:`SourceEnded`: it came to its end in order
    * :exc:`EncoderError`: an encoder cannot be opened or failed
    * :exc:`ProtocolError`: a peer broke the rules of docs/protocol.md
    * :exc:`TransportError`: a connection or session cannot be made or was lost
        * :exc:`SessionRefused`: the gateway said no to a CONNECT

This room imports nothing.
"""

from __future__ import annotations


class WtgatewayError(Exception):
    """Base of all errors that wtgateway raises on purpose."""


class ConfigError(WtgatewayError):
    """A setting is wrong.

    ``where`` is the file, environment variable or flag; ``key`` the dotted key. ``passing``: it may be right
    in a while, as it is (a port that another program has).
    """

    def __init__(self, where: str, key: str, value: object, expected: str, *, passing: bool = False) -> None:
        self.where, self.key, self.value, self.expected = where, key, value, expected
        self.passing = passing
        place = f"{where}: {key}" if key else where
        super().__init__(f"{place}: {value!r} is not usable; expected {expected}")


class CertificateError(WtgatewayError):
    """The certificate store cannot be read or written."""


class SourceError(WtgatewayError):
    """A source cannot be opened or broke while it was read; it may be retried."""


class SourceEnded(SourceError):
    """A source came to its end in order."""


class EncoderError(WtgatewayError):
    """An encoder cannot be opened or failed."""


class ProtocolError(WtgatewayError):
    """A peer broke the protocol; the session is closed with ``code``."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class TransportError(WtgatewayError):
    """A connection or a session cannot be made, or was lost."""


class SessionRefused(TransportError):
    """The gateway answered a CONNECT with an HTTP ``status`` other than 2xx."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(f"session refused with HTTP {status}: {reason or 'no reason given'}")
