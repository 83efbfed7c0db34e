"""``python -m wtgateway.workers FD``: a worker; started by the gateway, of no use by hand."""

from __future__ import annotations

import sys

from wtgateway.workers.worker import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
