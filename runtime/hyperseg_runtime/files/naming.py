"""Names that libraries can be given."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def named_in_utf8(path: Path) -> Iterator[str]:
    """A name of the file `path`, which need not exist yet, for a library that takes UTF-8 alone.

    File names of Linux are bytes. OpenCV 5.0.0 ends the process (SIGSEGV) where one is no UTF-8, so such a file gets a
    link for as long as it is used. It can go when `cv2.VideoCapture` raises an error for such a name.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            # The ending says which format is to be written.
            link = Path(folder, "link").with_suffix(path.suffix if path.suffix.isascii() else "")
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)
