"""A configuration for nginx's stream module. Pure: text from values.

nginx (without its njs scripts) does not look into datagrams: it chooses by the viewer's address. What that
can and cannot do is said in what is printed, where whoever runs it reads it.
"""

from __future__ import annotations

from wtgateway.config.balancing import KEPT, LbFile

UPSTREAM = "wtgateway"

_HEAD = """\
# wtgateway lb nginx: QUIC datagrams for {listen}, by viewers' addresses. nginx 1.11.5 or newer with its
# stream module (Debian: nginx-light and libnginx-mod-stream).
#
# It sticks to the address, not to the connection ID, so the server IDs of the LB file are of no use here:
#  - a NAT that gives a viewer another PORT is survived: the address hashes to the same node, QUIC goes on;
#  - a viewer with another ADDRESS (Wi-Fi to mobile) may come to another node, which has no such connection:
#    it answers with a stateless reset if the nodes share a cluster secret; the page opens a new session;
#  - when a node comes or goes, its share of the addresses moves, with the same effect for those viewers;
#  - all viewers behind one address are on one node;
#  - nginx asks nobody for their health: a node that refuses datagrams is left out for fail_timeout. One that
#    drains goes on getting new viewers, and refuses them (503).
# nginx started again: sessions live on, for the hash is the same; nodes see new ports.
"""

_KEPT = """\
# Viewers' addresses are kept (proxy_bind transparent): the workers need root or CAP_NET_RAW, nodes have to
# answer by way of this host, and this host has to take those answers for its own:
#   ip rule add fwmark 0x77 lookup 119; ip route replace local default dev lo table 119
#   and a mark of 0x77 on UDP from the nodes' addresses (nft, prerouting).
"""

_HIDDEN = """\
# Nodes see this host's address: what they limit per address they would limit for all viewers together.
"""


def configuration(lb: LbFile) -> str:
    """A whole nginx.conf."""
    kept = lb.client_addresses == KEPT
    servers = "\n".join(f"        server {node.address} max_fails=3 fail_timeout=5s;" for node in lb.nodes)
    bind = "\n        proxy_bind $remote_addr:$remote_port transparent;" if kept else ""
    return f"""\
{_HEAD.format(listen=lb.listen)}{_KEPT if kept else _HIDDEN}
include /etc/nginx/modules-enabled/*.conf;
worker_processes auto;
worker_rlimit_nofile 20000;
{"user root;" if kept else "# user nginx;"}
events {{
    worker_connections 8192;
}}
stream {{
    upstream {UPSTREAM} {{
        hash $remote_addr consistent;
{servers}
    }}
    server {{
        listen {_listen(lb)} udp reuseport;
        proxy_pass {UPSTREAM};
        # longer than QUIC's own idle timeout, so that it is QUIC that gives up first
        proxy_timeout 60s;{bind}
    }}
}}
"""


def _listen(lb: LbFile) -> str:
    if lb.listen.host == "::":
        return f"[::]:{lb.listen.port} ipv6only=off"
    return str(lb.listen)
