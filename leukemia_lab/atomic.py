"""Files that appear whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to: it replaces `path` at the end, or vanishes on any error."""
    partial = path.with_name(
        f".{path.name}.{secrets.token_hex(6)}"
    )  # processes of two machines share numbers
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
