"""`delivery`: what viewers see behind bad networks, ours in its three modes beside peers.

``scenarios`` says what networks there are and what is asked of them, ``systems`` starts the system under
test, ``bench`` runs them and keeps a ``result`` of each, from which ``figures`` (pure) makes numbers,
``markdown`` and ``plots`` what is shown.
"""
