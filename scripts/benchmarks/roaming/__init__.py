"""`roaming`: how long the picture stops when a viewer's address or a node changes, ours beside peers.

``events`` is what happens, ``systems`` whom it happens to, ``gaps`` (pure) makes figures of what a page
noted, ``crowd`` is a program of many native viewers, ``bench`` runs them.
"""
