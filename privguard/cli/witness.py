"""``privguard witness``: cosign checkpoints of logs, on another machine than theirs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privguard.cli.options import ANY_FOLDER, FILE, signer_options, signers
from privguard.errors import ConfigError, StoreUnavailableError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from privguard.audit.note import Signer
    from privguard.audit.trust import Trust
    from privguard.witness.server import Witness

signer_option = signer_options("witness", "Its key file.")
logs_option = click.option(
    "--logs",
    required=True,
    type=FILE,
    help="Trust policy with the logs' keys, as `privguard audit trust` says them.",
)
state_option = click.option("--state", required=True, type=ANY_FOLDER, help="Folder of its state.")


@click.group()
def witness() -> None:
    """Cosign checkpoints of logs, on another machine than theirs."""


@witness.command()
@signer_option
def keys(name: str, keys_file: Path) -> None:
    """Say the witness's public keys; made first, if the key file is not there."""
    for signer in _signers(name, keys_file, new=True):
        click.echo(str(signer.key))


@witness.command()
@signer_option
@logs_option
@state_option
def follow(name: str, keys_file: Path, logs: Path, state: Path) -> None:
    """Begin to follow logs: their next checkpoints will be the first that it cosigns."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for origin in _witness(name, keys_file, logs, state).follow():
        click.echo(f"{origin}: followed from now on")


@witness.command()
@signer_option
@logs_option
@state_option
@click.option("--listen", default="127.0.0.1:8090", show_default=True, help="host:port to listen on.")
def serve(name: str, keys_file: Path, logs: Path, state: Path, listen: str) -> None:
    """Answer add-checkpoint until SIGTERM or Ctrl-C."""
    import uvicorn

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError("--listen is host:port")
    made = _witness(name, keys_file, logs, state)
    if strangers := made.strangers():
        raise click.ClickException(
            f"{state} holds nothing of {', '.join(strangers)}: put the folder back if the witness cosigned"
            " them before; if not, begin with `privguard witness follow`"
        )
    app = create_app(made)
    uvicorn.run(app, host=host, port=int(port), log_level="warning", access_log=False, server_header=False)


def create_app(witness: Witness) -> Starlette:
    """The witness as an ASGI app."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from privguard.witness.exchange import MAX_BODY

    async def add_checkpoint(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return Response("the request is too long\n", 413, media_type="text/plain")
        try:
            status, media, said = await asyncio.to_thread(witness.add_checkpoint, bytes(body))
        except StoreUnavailableError:
            return Response("the witness cannot keep its state\n", 503, media_type="text/plain")
        except ConfigError:
            return Response("the witness cannot read whom to trust\n", 503, media_type="text/plain")
        return Response(said, status, {"cache-control": "no-store"}, media_type=media)

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])


def _witness(name: str, keys_file: Path, logs: Path, state: Path) -> Witness:
    from privguard.cli.proofs import read_trust
    from privguard.witness.server import Witness

    def trust() -> Trust:
        """Read at each request, so that a rotation of a log's keys needs no restart."""
        return read_trust(logs)

    return Witness(trust, _signers(name, keys_file), state, lambda: int(time.time()))


def _signers(name: str, keys_file: Path, *, new: bool = False) -> Sequence[Signer]:
    from privguard.audit.note import COSIGNED_ED25519, COSIGNED_ML_DSA_44

    return signers(name, keys_file, COSIGNED_ED25519, COSIGNED_ML_DSA_44, new=new)
