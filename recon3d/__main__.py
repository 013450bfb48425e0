"""`python -m recon3d` is the same as `recon3d`."""

from __future__ import annotations

import sys

from recon3d.apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
