"""Storms: what a gateway must stand, each a module with what it does and what must hold (`scripts/soak`).

docs/reliability.md has the table and the figures. The frame is in frame.py, observed.py and control.py;
ledger.py judges what viewers got; programs that storms start are watchers.py, churn.py and attackers.py.
"""
