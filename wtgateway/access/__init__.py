"""Who may do what here: the one authority that all ways in ask (docs/access.md)."""

from wtgateway.access.credentials import Credentials, Refused
from wtgateway.access.permissions import Action, Grant, Permission

__all__ = ["Action", "Credentials", "Grant", "Permission", "Refused"]
