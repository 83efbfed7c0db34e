"""What the gateway notes of itself for whoever runs it: samples, its processes, its event loop.

All of it is bounded, sampled once a second, and far from the media path. May import web's values, events and
what stands to their left.
"""
