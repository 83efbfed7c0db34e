"""`python -m wtgateway`."""

from __future__ import annotations

import sys

from wtgateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
