"""What others are told, and what is run, when something happens: webhooks and `run_on_*` commands.

Both listen to the gateway's events and keep nobody waiting. May import config, events and the log.
"""
