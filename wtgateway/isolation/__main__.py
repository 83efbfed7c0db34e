"""``python -m wtgateway.isolation FD``: a source's process; started by the gateway, of no use by hand."""

from __future__ import annotations

import sys

from wtgateway.isolation.child import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
