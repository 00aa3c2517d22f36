"""Short hashes of plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def content_hash(values: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that depend on the values, not on the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]
