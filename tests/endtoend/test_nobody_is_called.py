"""No name is looked up that the user did not ask for, by whatever a verb loads or starts.

A library beside the C library's resolver notes each look-up and connection, so that native code and
all child processes are heard too. Nothing is switched off by the tests: no offline mode, no
telemetry variable.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from remote.s3_server import S3Server

from jagpt import safepath, telemetry
from jagpt.formats.table import FORMATS

from .conftest import settings

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)

NOTED = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *what) {
  const char *path = getenv("NOTED");
  if (!path || !what) return;
  char line[300];
  int length = snprintf(line, sizeof line, "%s\n", what);
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file < 0 || write(file, line, length) < 0) abort();
  close(file);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
  note(host);
  int (*real)() = dlsym(RTLD_NEXT, "getaddrinfo");
  return real(host, service, hints, found);
}

struct hostent *gethostbyname(const char *host) {
  note(host);
  struct hostent *(*real)() = dlsym(RTLD_NEXT, "gethostbyname");
  return real(host);
}

int gethostbyname_r(const char *host, struct hostent *entry, char *buffer, size_t length,
                    struct hostent **found, int *error) {
  note(host);
  int (*real)() = dlsym(RTLD_NEXT, "gethostbyname_r");
  return real(host, entry, buffer, length, found, error);
}

int connect(int handle, const struct sockaddr *to, socklen_t length) {
  int kind = 0;
  socklen_t size = sizeof kind;
  getsockopt(handle, SOL_SOCKET, SO_TYPE, &kind, &size);
  char text[INET6_ADDRSTRLEN] = "";
  if (to->sa_family == AF_INET)
    inet_ntop(AF_INET, &((struct sockaddr_in *)to)->sin_addr, text, sizeof text);
  if (to->sa_family == AF_INET6)
    inet_ntop(AF_INET6, &((struct sockaddr_in6 *)to)->sin6_addr, text, sizeof text);
  if (kind == SOCK_STREAM && text[0]) {  /* a datagram's address is set without a packet */
    char what[80];
    snprintf(what, sizeof what, "connect %s", text);
    note(what);
  }
  int (*real)() = dlsym(RTLD_NEXT, "connect");
  return real(handle, to, length);
}
"""
VERBS = """
import json, sys
from jagpt.__main__ import main
for arguments in json.loads(sys.argv.pop()) if __name__ == "__main__" else ():
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as leave:
        if leave.code:
            sys.exit(f"{arguments}: {leave.code}")
"""
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "ctranslate2": "ctranslate2",
           "gguf": "xllamacpp"}  # fmt: skip
TINY = settings(train__max_steps="2", train__warmup_steps="1", execution__tensorboard="true")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library to preload."""
    folder = tmp_path_factory.mktemp("recorder")
    (folder / "noted.c").write_text(NOTED)
    done = subprocess.run(
        ["cc", "-w", "-shared", "-fPIC", "-o", "noted.so", "noted.c", "-ldl"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"the compiler cannot make a library: {done.stderr}")
    return folder / "noted.so"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user who has configured nothing."""
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def environment(recorder: Path, tmp_path: Path, home: Path) -> dict[str, str]:
    """What a process needs to be heard, without what makes others silent."""
    silent = {*telemetry.VARIABLES, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "CI", "HF_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in silent}
    return {
        **kept,
        "LD_PRELOAD": str(recorder),
        "NOTED": str(tmp_path / "noted.txt"),
        "HOME": str(home),
        "PYTHONPATH": str(Path(safepath.__file__).parents[1]),
    }


def called(environment: dict[str, str]) -> set[str]:
    """Names and addresses outside this machine."""
    noted = Path(environment["NOTED"])
    lines = noted.read_text().splitlines() if noted.exists() else []
    return {line for line in set(lines) if not _is_here(line)}


def _is_here(line: str) -> bool:
    host = line.removeprefix("connect ")
    if host in ("localhost", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    own = {one.address for card in psutil.net_if_addrs().values() for one in card}
    asked = line.startswith("connect ")  # that an address is spelled out asks nobody
    return address.is_loopback or address.is_unspecified or not asked or str(address) in own


def run(environment: dict[str, str], folder: Path, *commands: list[str]) -> None:
    """Run command lines in one process, in a folder of their own."""
    program = folder / "program.py"
    program.write_text(VERBS)
    done = subprocess.run(
        [sys.executable, program, json.dumps(commands)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]


def test_a_look_up_is_heard(environment: dict[str, str]) -> None:
    program = "import socket, sys\nsocket.getaddrinfo(sys.argv[1], 80)"
    subprocess.run(
        [sys.executable, "-c", program, "jagpt.invalid"], env=environment, stderr=subprocess.DEVNULL
    )
    assert called(environment) == {"jagpt.invalid"}


def test_no_verb_calls_anybody(environment: dict[str, str], tmp_path: Path, home: Path) -> None:
    installed = [name for name, one in FORMATS.items() if one.installed()]
    formats = list({name.partition("-")[0]: name for name in reversed(installed)}.values())
    engines = [name for name, package in ENGINES.items() if importlib.util.find_spec(package)]
    text = tmp_path / "text.txt"
    text.write_text("東京は日本の首都です。\n" * 20)
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "remote.git"], check=True)
    (home / ".gitconfig").write_text("[user]\nname = a\nemail = a@example.org\n")
    run(
        environment,
        tmp_path,
        ["doctor"],
        ["recipes"],
        ["init", "small"],
        ["plan", "quickstart"],
        ["run", "quickstart", "--run-dir", "r", *TINY, "--set", f"export.formats={formats}"],
        ["status", "r"],
        ["verify", "r"],
        ["report", "r"],
        ["evaluate", "--model", "r/model", "--text", str(text)],
        ["tokenizer", "--compare", "r", "r/tokenizer", "--text", str(text)],
        ["generate", "r/model", "東京"],
        *(["generate", "r/model", "東京", "--greedy", "--engine", name] for name in engines),
        ["export", "--model", "r/model", "--format", "pytorch", "--output", "out"],
        ["extract", str(next(sample())), "--output", "extracted", "--workers", "2"],
        *([["release", "r", "--to", "git:remote.git"]] if shutil.which("git-lfs") else []),
        ["train", "r", "--nproc", "2", "--set", "train.grad_accum_steps=2", "--yes"],
        ["clean", "r"],
    )
    assert called(environment) == set()
    kept = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert not [name for name in kept if re.search("microsoft|onnx|intel|openvino|ray", name, re.I)]


def test_a_copy_calls_its_place_alone(environment: dict[str, str], tmp_path: Path) -> None:
    """With credentials in the environment, nobody asks for a machine's role."""
    server = S3Server()
    server.make_bucket("copies")
    store = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    copied = ["--set", "execution.remote=s3://copies/r"]
    try:
        run(
            environment | store,
            tmp_path,
            ["run", "quickstart", "--until", "corpus", "--run-dir", "r", *copied],
            ["status", "r"],
            ["pull", "s3://copies/r", "pulled"],
            ["push", "pulled", "--to", f"file://{tmp_path}/drive"],
        )
    finally:
        server.close()
    assert any("PUT /copies/r/corpus-" in request for request in server.requests)
    assert called(environment) == set()


def sample() -> Iterator[Path]:
    """The bundled dump."""
    return Path(telemetry.__file__).parent.joinpath("sample").glob("*.bz2")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs jagpt[ray]")
def test_rays_cluster_calls_nobody(environment: dict[str, str], tmp_path: Path) -> None:
    ray = ["--set", "execution.executor=ray"]
    run(environment, tmp_path, ["corpus", "quickstart", "--run-dir", "r", *TINY, *ray])
    assert called(environment) == set()


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs jagpt[playground]")
def test_the_playground_calls_nobody(
    environment: dict[str, str], tmp_path: Path, tiny_model: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "jagpt", "playground", str(tiny_model), "--port", "0"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = iter(process.stdout)
        address = next(found[0] for line in lines if (found := re.search(r"http://\S+/", line)))
        for page in ("", "config"):
            with urllib.request.urlopen(address + page) as answer:  # noqa: S310
                assert answer.status == 200
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert called(environment) == set()
