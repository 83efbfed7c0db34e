"""What the bytes of a coded video say: parameter sets, picture order, codec strings, framing.

Pure functions and values: bytes in, values out, or one :exc:`~wtgateway.bitstream.bits.BitstreamError`.
Nothing here decodes a picture. This room imports :mod:`wtgateway.errors` alone.
"""
