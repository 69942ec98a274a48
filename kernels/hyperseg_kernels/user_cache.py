"""Where this program keeps what it can make again, by the custom of each system."""

import os
import sys
from pathlib import Path

NAME = "hyperseg-trt"


def user_cache() -> Path | None:
    """A folder of the user's, which may not be there yet; None for a user without a home.

    $XDG_CACHE_HOME decides everywhere, else ~/.cache (XDG Base Directory Specification 0.8), ~/Library/Caches on macOS
    (File System Programming Guide), %LOCALAPPDATA% on Windows (Known Folders).
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / NAME
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / NAME
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / NAME
