"""QUIC endpoint, HTTP/3 and WebTransport on aioquic's sans-I/O core. aioquic is imported only here."""
