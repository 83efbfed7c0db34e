"""The systems measured, each behind one interface (``base.System``): ours and the peers.

A peer runs in a virtual environment of its own under .cache/peers/, made by ``environments``.
"""
