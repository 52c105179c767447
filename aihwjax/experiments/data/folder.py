"""Where the files of a data set lie on disk, and how the missing ones get there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from aihwjax.errors import DataError
from aihwjax.experiments.data.dataset import PathLike
from aihwjax.experiments.data.download import download_file

ROOT_VARIABLE = "AIHWJAX_DATA_DIR"
"""Environment variable with the folder of the data sets."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file."""

    name: str
    """File name, the same on every mirror."""
    md5: str
    """Published MD5 sum, in hexadecimal."""


@dataclass(frozen=True)
class FileSet:
    """The files of one data set: their names, sums, mirrors and folders."""

    title: str
    """Name of the data set for people."""
    files: tuple[RemoteFile, ...]
    """All files that the data set consists of."""
    mirrors: tuple[str, ...]
    """Addresses of the folders that hold the files, each with a slash at its end, in order of preference."""
    subfolders: tuple[str, ...]
    """Folders below the root where the files may lie; the first one is where downloads go."""

    def locate(self, root: PathLike | None, download: bool) -> dict[str, Path]:
        """Return the path of each file by its name, after downloading those that are missing.

        Files that are there already are taken as they are, packed or not: the published sums are for
        downloads only. A folder of the user's with some of the files is never filled up from the network.

        Args:
            root: The folder that the user named, or None for the default (:func:`data_root`).
            download: Whether missing files may be fetched.

        Raises:
            DataError: If files are missing and cannot be downloaded.
        """
        folder = data_root(root)
        places = [folder / subfolder for subfolder in self.subfolders]
        found = [self._present(place) for place in places]
        for present in found:
            if len(present) == len(self.files):
                return present
        for place, present in zip(places[1:], found[1:], strict=True):
            if present:
                absent = next(file.name for file in self.files if file.name not in present)
                raise DataError(f"{place / absent}: missing; allowed: all files of {self.title} in one folder")
        target, present = places[0], found[0]
        missing = [file for file in self.files if file.name not in present]
        if not download:
            raise DataError(
                f"dataset_root={folder}: {missing[0].name} of {self.title} is missing and download=False;"
                f" allowed: a folder with the files, in it or in {self.subfolders[0]}"
            )
        for file in missing:
            urls = [mirror + file.name for mirror in self.mirrors]
            present[file.name] = download_file(urls, file.md5, target / file.name, self.title)
        return present

    def _present(self, folder: Path) -> dict[str, Path]:
        """Return the files that lie in one folder, packed or not."""
        candidates = {file.name: (folder / file.name, folder / file.name.removesuffix(".gz")) for file in self.files}
        existing = {name: [path for path in paths if os.path.isfile(path)] for name, paths in candidates.items()}
        return {name: paths[0] for name, paths in existing.items() if paths}


def data_root(root: PathLike | None) -> Path:
    """Return the folder of the data sets: the argument, else ``AIHWJAX_DATA_DIR``, else the user's cache folder.

    Raises:
        DataError: If the argument is not a path, or is a file.
    """
    if root is None:
        root = os.environ.get(ROOT_VARIABLE) or None
    if root is None:
        import platformdirs

        return Path(platformdirs.user_cache_dir("aihwjax", appauthor=False)) / "datasets"
    if not isinstance(root, (str, os.PathLike)) or os.fspath(root) in ("", b"") or "\0" in str(root):
        raise DataError(f"dataset_root is {root!r}; allowed: the path of a folder, or None")
    folder = Path(root).expanduser()
    if os.path.isfile(folder):  # unlike Path.is_file, False for a folder that may not be looked into
        raise DataError(f"dataset_root is {str(folder)!r}, a file; allowed: the path of a folder, or None")
    return folder
