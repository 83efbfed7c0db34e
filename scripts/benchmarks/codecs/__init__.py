"""`codecs`: what encoding costs and is worth, codec by codec, and what it costs to forward instead.

Imports the package under test, the other benchmarks' helpers, and numpy.
"""
