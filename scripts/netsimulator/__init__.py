"""A bad network on this machine (`scripts/netsim`): the tests' model of a path, between real sockets.

``units`` and ``options`` read the command line, ``path`` (pure, on a clock that is told the time) is the
model in both directions, ``udp`` and ``tun`` bring packets to it, ``loop`` keeps it punctual, ``figures``
tells what became of them.
"""
