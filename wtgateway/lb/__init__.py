"""Balancers for several gateways behind one UDP address: a reference forwarder, and rules for others.

All of them go by the same LB file (:mod:`wtgateway.config.balancing`) as the gateways. What each can and
cannot do is in docs/balancing.md.

* ``packets``, ``routing``, ``health``: which node a datagram belongs to, and which nodes take new
  connections (pure);
* ``checks``, ``run``, ``forwarder``, ``flows``, ``transparent``, ``inherited``, ``web``: the reference one;
* ``nftables``, ``nft``: a ruleset for the kernel of Linux, loaded and kept up to date;
* ``nginx``, ``envoy``, ``nlb``: configuration for other people's balancers.

May import config, transport and web of the project; knows nothing of media.
"""
