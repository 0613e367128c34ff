"""Where the client finds runs: mf's database, Metaflow's `.metaflow` folder, or both; or where a team shares them.

0. MF_READER describes what a team shares, for tasks of such a run: mf itself reads that.
1. METAFLOW_DATASTORE_SYSROOT_LOCAL names the folder that holds `.metaflow`, MF_METADATA_DB the database. mf sets both
   for its tasks. Where only the first is set, the database is `.mf/metadata.db` or `metadata.db` in that folder, if
   there is one; where only the second is, the folder is the one that belongs to the database.
2. Where neither is set, the nearest `.mf/metadata.db` above the working directory, else the nearest `.metaflow`.

How the two are read together says database.Database.
"""

from __future__ import annotations

import os

from metaflow.exception import MetaflowException

from .layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = ".metaflow"
_HOME = ".mf"
_DATABASE = "metadata.db"


def find() -> Layout:
    """Return where the runs are, by the environment and the working directory."""
    own = shared()
    if own is not None:
        return own
    given = os.environ.get("MF_METADATA_DB")
    if given and not os.path.isfile(given):
        raise MetaflowException(f"MF_METADATA_DB names a database that does not exist: {given}")
    sysroot = os.environ.get("METAFLOW_DATASTORE_SYSROOT_LOCAL")
    if sysroot:
        folder = _resolved(sysroot)
        return _reader(os.path.join(folder, _FOLDER), given or _database_in(folder))
    if given:
        return _reader(_folder_of(given), given)
    here = os.getcwd()
    for folder in _upwards(here):
        database = os.path.join(folder, _HOME, _DATABASE)
        if os.path.isfile(database):
            return _reader(_folder_of(database), database)
    for folder in _upwards(here):
        for candidate in (os.path.join(folder, _FOLDER), os.path.join(folder, _HOME, _FOLDER)):
            if os.path.isdir(candidate):
                return Layout(os.path.realpath(candidate))
    return Layout(os.path.join(here, _FOLDER))


_shared: dict[str, Layout] = {}


def shared() -> Layout | None:
    """Return the runs that the environment's team shares; None where the run around this process is a local one."""
    described = os.environ.get("MF_READER")
    if not described:
        return None
    found = _shared.get(described)
    if found is None:
        from .remote import Remote

        found = _shared[described] = Remote(described)
    return found


def at(place: str) -> Layout:
    """Return the runs of a folder; raises MetaflowException when it has neither a database nor `.metaflow`."""
    folder = _resolved(place)
    root = os.path.join(folder, _FOLDER)
    database = _database_in(folder)
    if not os.path.isdir(root):
        if database is None:
            raise MetaflowException(f"there is no local metadata in '{place}': it has no folder {_FOLDER}")
        root = _folder_of(database)
    sysroot = os.environ.get("METAFLOW_DATASTORE_SYSROOT_LOCAL")
    if sysroot and _resolved(sysroot) == folder and not os.environ.get("MF_READER"):
        return find()
    return _reader(root, database)


def _reader(root: str, database: str | None) -> Layout:
    if database is None:
        return Layout(root)
    from .database import Database

    return Database(root, os.path.abspath(database))


def _resolved(folder: str) -> str:
    return os.path.realpath(os.path.expanduser(folder))


def _upwards(folder: str) -> Iterator[str]:
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _database_in(folder: str) -> str | None:
    """Return the database of a folder that holds `.metaflow`: that of `.mf` below, or its own if it is a `.mf`."""
    for candidate in (os.path.join(folder, _HOME, _DATABASE), os.path.join(folder, _DATABASE)):
        if os.path.isfile(candidate):
            return candidate
    return None


def _folder_of(database: str) -> str:
    """Return the `.metaflow` folder of a database: beside it, or beside the `.mf` that it is in."""
    home = os.path.dirname(os.path.abspath(database))
    own = os.path.realpath(os.path.join(home, _FOLDER))
    beside = os.path.realpath(os.path.join(os.path.dirname(home), _FOLDER))
    return beside if not os.path.isdir(own) and os.path.isdir(beside) else own
