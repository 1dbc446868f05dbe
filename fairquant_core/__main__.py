"""The same pipeline without a browser: ``python -m fairquant_core fit | sensitivity | run | evaluate | verify``."""

from __future__ import annotations

import sys

from fairquant_core.command_line import main

if __name__ == "__main__":
    sys.exit(main())
