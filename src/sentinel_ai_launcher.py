"""
Start the command line, after making sure that `sentinel` is ours.

Other distributions install a package of the same name (docs/adr/0001). If one of them comes first on the path, our
code is never reached, so the check lives in a module whose name nobody else uses.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_OURS = "sentinel-ai"


def main() -> int:
    """Run `sentinel`; exit code 2 with one line when another package stands in the way."""
    import sentinel  # noqa: PLC0415 - the look at what this name means is the point

    if getattr(sentinel, "__distribution__", None) != _OURS:
        sys.stderr.write(_told(sentinel))
        return 2
    from sentinel.cli import run  # noqa: PLC0415 - only ours has it

    return run()


def _told(foreign: object) -> str:
    from importlib.metadata import packages_distributions  # noqa: PLC0415 - slow to import, and rarely needed

    others = sorted({name for name in packages_distributions().get("sentinel", ()) if name != _OURS})
    place = getattr(foreign, "__file__", None) or "an unknown place"
    remedy = (
        f"uninstall it (pip uninstall {' '.join(others)}) and reinstall {_OURS}"
        if others
        else "move it out of the path"
    )
    return f"sentinel: another package named `sentinel` ({place}) hides Sentinel ({_OURS}): {remedy}\n"
