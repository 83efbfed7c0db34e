"""Glass to glass: a clock painted on one X display, read back from another that shows it in a browser.

``painter`` paints, a system under test captures and shows, ``reader`` reads, ``analysis`` (pure) makes
figures of it. Age of a frame = time of its first sighting minus time of its painting; both by
CLOCK_REALTIME of this machine, so nothing of the system under test is trusted.
"""
