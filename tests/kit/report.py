"""What a watch reports, as the JSON that programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reconciler.status.report import read_report


def report_json(run_dir: Path) -> dict[str, Any]:
    """Empty where there is none."""
    report = read_report(run_dir)
    found: dict[str, Any] = json.loads(json.dumps(report.to_json())) if report is not None else {}
    return found
