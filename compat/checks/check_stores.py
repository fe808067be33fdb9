"""A run pushed to Google's and to Azure's storage, in their emulators, and pulled again.

Arguments: the folder with azurite's node packages, the run, the folder with the material.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from http import HTTPStatus
from pathlib import Path

import adlfs
import common
import gcsfs
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server

NODE, RUN = Path(sys.argv[1]), Path(sys.argv[2])
SOURCES = Path(__file__).resolve().parents[2] / "src"
STAGES = ("corpus", "tokenizer", "tokens", "checkpoints", "model")
ACCOUNT, KEY = "test", "dGVzdA=="
SECONDS = 60
EXCLUSIVE = """
import sys
from jagpt.remote.store import Store
store = Store(sys.argv[1])
assert store.create("lease/first", b"1") and not store.create("lease/first", b"2")
assert store.read("lease/first", 10) == b"1"
"""


def conditional(upload):
    """An emulator's upload that knows Google's condition `ifGenerationMatch=0`, as it does not."""

    def uploaded(request, response, storage):
        if request.query.get("ifGenerationMatch") == ["0"]:
            with contextlib.suppress(NotFound):
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        upload(request, response, storage)

    return uploaded


@contextlib.contextmanager
def google():
    """A bucket `runs`, and what a user's environment says of it."""
    port = common.free_port()
    objects._multipart_upload = conditional(objects._multipart_upload)
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="runs")
    server.start()
    yield {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "FSSPEC_GS_TOKEN": "anon",
        # It would ask by gRPC, with certificates, for a kind of bucket that no emulator has.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    server.stop()


@contextlib.contextmanager
def azure():
    """A container `runs`, and what a user's environment says of it."""
    port = common.free_port()
    program = NODE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--blobPort", str(port)]
    accounts = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    said = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )
    nothing = subprocess.DEVNULL
    with subprocess.Popen(  # noqa: S603
        ["node", program, *options],  # noqa: S607
        env=accounts, stdout=nothing, cwd=NODE,
    ) as server:  # fmt: skip
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.2)
            adlfs.AzureBlobFileSystem(connection_string=said).mkdir("runs")
            yield {"AZURE_STORAGE_CONNECTION_STRING": said}
        finally:
            server.kill()


def python(environment, *arguments):
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, **environment, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")


def contents(run):
    return {
        path.relative_to(run): path.read_bytes()
        for stage in STAGES
        for path in (run / stage).rglob("*")
        if path.is_file()
    }


def check(title, place, environment):
    """What comes back is what went there, a second push finds it there, and of two who create a
    lease one alone has it."""
    with tempfile.TemporaryDirectory() as folder:
        python(environment, "-m", "jagpt", "push", RUN, "--to", place)
        python(environment, "-m", "jagpt", "push", RUN, "--to", place)
        python(environment, "-m", "jagpt", "pull", place, Path(folder) / "run")
        if contents(Path(folder) / "run") != contents(RUN):
            sys.exit(f"{title}: another run came back")
    python(environment, "-c", EXCLUSIVE, place)
    common.passed(title)


with google() as environment:
    check(f"gs://, gcsfs {gcsfs.__version__}", "gs://runs/tiny", environment)
with azure() as environment:
    check(f"az://, adlfs {adlfs.__version__}", "az://runs/tiny", environment)
