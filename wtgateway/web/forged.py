"""Whether a request that changes something was made by the page of another site (CSRF). Pure.

A browser lets any page send some requests anywhere, with the visitor's network position: the gateway on
loopback is asked by the operator's own browser. What such a request cannot have is a type of body or a header
beyond those of a form without asking first (Fetch, section "CORS-safelisted request-header"), nor another
Origin than its page's. A page whose own name is made to lead here (DNS rebinding) has the Origin right, but
not the name: without a token only addresses and the gateway's known names are taken as Host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

HEADER = "x-wtgateway"


def why(
    headers: Mapping[str, str], scheme: str, origins: Collection[str] = (), hosts: Collection[str] = ()
) -> str:
    """Why a changing request is refused, in words; empty: it is not. ``headers`` have lower-case names.

    ``origins``: whose pages may change things besides those of the gateway (`https://name`); ``hosts``: names
    of the gateway.
    """
    json = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    if not json and HEADER not in headers:
        return f"What changes something needs content-type: application/json, or the header {HEADER}: 1."
    host = headers.get("host", "")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {*origins, f"{scheme}://{host}".lower()}:
        return "Pages of that origin may not change anything here."
    if not headers.get("authorization") and not is_own_name(host, hosts):
        return "Ask under an address of the gateway, localhost, or its public name; or with a token."
    return ""


def is_own_name(host_header: str, hosts: Collection[str]) -> bool:
    """Whether a Host is one that no other site can have: an address, localhost, or one of ``hosts``."""
    try:
        host = urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost") or host in hosts:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
