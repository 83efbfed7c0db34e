"""What makes up a running gateway, and how it changes while it runs: the parts that gateway.py composes.

Broadcasts come and go, the configuration is read again, service managers are told, and what the machine runs
short of is noticed. May import pipeline, workers, web and all to their left.
"""
