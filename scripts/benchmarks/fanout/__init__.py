"""The bench `fanout`: many viewers of one broadcast on one core, ours beside the peers' servers.

``bench`` runs it; ``load`` is the program that plays the viewers (QUIC handshakes by aioquic, then the
light receive path of ``receiver``); ``content`` is what every server sends, so that the load can check it.
"""
