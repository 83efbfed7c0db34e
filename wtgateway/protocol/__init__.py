"""The wire protocol of docs/protocol.md, sans I/O: bytes and ``now`` in, events and bytes out.

Imports only :mod:`wtgateway.media` and :mod:`wtgateway.errors`; no asyncio, no aioquic, no av,
no clock, no random.
"""
