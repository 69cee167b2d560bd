"""The real data sets in the archives that circulate: found below a folder, opened, checked."""

from sakbench.data.archives.locate import find, register
from sakbench.data.archives.split import ArchiveSplit, open_split

__all__ = ["ArchiveSplit", "find", "open_split", "register"]
