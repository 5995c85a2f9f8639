"""Published files, fetched once into the user's cache and verified there."""

from __future__ import annotations

from pathlib import Path

from spikegraph.export.errors import DataError


def fetch(name: str, files: dict[str, tuple[str, str]], remedy: str) -> dict[str, Path]:
    """Fetch the files of a data set, or find them in the cache.

    Parameters
    ----------
    name : str
        Of the data set, and of its folder in the cache.
    files : dict of file name → (URL, MD5)
    remedy : str
        What to do where there is no way to fetch them.

    Raises
    ------
    DataError
        A file cannot be fetched, or has another MD5.
    """
    import pooch

    folder = pooch.os_cache("spikegraph") / name
    try:
        return {
            file: Path(pooch.retrieve(url, known_hash=f"md5:{md5}", fname=file, path=folder, progressbar=True))
            for file, (url, md5) in files.items()
        }
    except (OSError, ValueError) as error:
        raise DataError(name, "is not on this machine and could not be fetched", remedy) from error
