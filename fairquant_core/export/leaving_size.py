"""How large the file is that leaves: the exported one, or the packed classifier while nothing is exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class LeavingSize(NamedTuple):
    """Sizes of one compressed classifier; None where nobody recorded it.

    Attributes
    ----------
    on_disk : the file as it lies there.
    ideal : the same numbers without a word on how to compute.
    full : what it would take in full precision.

    Units: bytes.
    """

    on_disk: int | None
    ideal: int | None
    full: int | None

    @property
    def times_smaller(self) -> float | None:
        """How many times the file is smaller than in full precision; None where one size is not known.

        >>> LeavingSize(2, 2, 8).times_smaller
        4.0
        """
        return self.full / self.on_disk if self.full and self.on_disk else None


def leaving_size(
    audited: Mapping[str, Any] | None, exported: Mapping[str, Any] | None
) -> LeavingSize:
    """The sizes to tell a person.

    Parameters
    ----------
    audited : "size" of an audit, which knows the packed classifier.
    exported : the check of an exported file, if there is one.
    """
    if size := (exported or {}).get("size"):
        return LeavingSize(size["on_disk"], size["ideal"], size["float32"])
    size = audited or {}
    return LeavingSize(
        *(size.get(f"bytes_{name}") for name in ("on_disk", "ideal", "full_precision"))
    )
