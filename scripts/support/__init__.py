"""What benchmarks, end-to-end tests and the screenshots share: starting programs, the gateway, peers.

Imports the standard library only, so that every peer's environment can run it too.
"""
