"""Where the repository lies, and what tests keep between runs."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED_CACHE = Path(os.environ.get("VIO4WD_CACHE_DIR", f"/var/tmp/vio4wd-test-cache-{os.geteuid()}"))
"""Kept between tests and runs, so that the loops are compiled once."""
