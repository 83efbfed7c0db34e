"""What benchmarks, end-to-end tests and the screenshots share: starting programs, the gateway, peers.

Imports the standard library and numpy only (the screenshots apart), so that a peer's environment
can run it too.
"""
