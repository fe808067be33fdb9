"""The page of a release in Chromium, from a plain file server; the library is the one of npm.

Arguments: the node packages of transformers.js, the release, the folder with the material. What the
page asks the library's mirror for is answered from the packages, so that its checksums are proven;
anything else that it asks elsewhere is an error. Runs in the project's own environment.
"""

import http.server
import json
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

from playwright.sync_api import sync_playwright

from jagpt.runtimes.onnx import OnnxRuntime
from jagpt.tokenizer.encoder import Encoder

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
MIRROR = "https://cdn.jsdelivr.net/npm/"
PROMPT, TOKENS = "京都は", 20
LONG = 60_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        return


def require(holds, what):
    if not holds:
        sys.exit(f"playground.html: {what}")


def tell(**values):
    print("RESULT " + json.dumps(values), flush=True)


def wanted(release):
    """The likeliest text by ONNX Runtime on the same weights."""
    encoder = Encoder.open(release)
    context = json.loads((release / "config.json").read_text())["n_positions"]
    runtime = OnnxRuntime(release / "onnx" / "model_quantized.onnx", context, 1)
    ids = runtime.greedy(encoder.encode(PROMPT), TOKENS)
    if encoder.end_id in ids:
        ids = ids[: ids.index(encoder.end_id)]
    return encoder.decode(ids)


def answer(route, packages, elsewhere):
    """From the npm packages, whose versions must be those that the page names."""
    name, _, rest = route.request.url.removeprefix(MIRROR).rpartition("@")
    version, _, path = rest.partition("/")
    folder = packages / "node_modules" / name
    manifest = folder / "package.json"
    if not manifest.is_file() or json.loads(manifest.read_text())["version"] != version:
        elsewhere.append(route.request.url)
        return route.abort()
    return route.fulfill(path=folder / path, headers={"Access-Control-Allow-Origin": "*"})


def wait(page, *states):
    choice = ",".join(f'body[data-state="{state}"]' for state in (*states, "failed"))
    page.wait_for_selector(choice, timeout=LONG)
    said = page.inner_text("#status")
    require(page.get_attribute("body", "data-state") in states, f"says {said!r}")


def use(page, expected):
    """Greedy, streamed, stopped, too long, in both languages."""
    wait(page, "ready")
    require("準備" in page.inner_text("#status"), "does not begin in Japanese")
    page.evaluate(
        "() => { window.seen = new Set(); new MutationObserver(() => "
        "seen.add(document.getElementById('text').textContent))"
        ".observe(document.getElementById('text'), { childList: true }); }"
    )
    page.fill("#prompt", PROMPT)
    page.fill("#temperature", "0")
    page.fill("#tokens", str(TOKENS))
    page.click("#go")
    wait(page, "done", "ended")
    found = page.inner_text("#text")
    require(found == PROMPT + expected, f"writes {found!r}, not {PROMPT + expected!r}")
    steps = page.evaluate("() => seen.size")
    require(steps > 5, f"shows the text in {steps} steps only")
    page.click("#language")
    require(page.inner_text("#go") == "Continue", "has no English")
    page.fill("#temperature", "1")
    page.fill("#tokens", "200")
    page.click("#go")
    page.click("#stop")
    wait(page, "stopped", "ended")
    page.fill("#prompt", "京都は。" * 500)
    page.click("#go")
    wait(page, "long")
    require("context is" in page.inner_text("#status"), "does not say what is too long")


def main(packages, release):
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        return tell(format="playground.html", runs="skipped: needs Chromium")
    expected, elsewhere, problems = wanted(release), [], []
    handler = partial(Quiet, directory=str(release))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = f"http://127.0.0.1:{server.server_port}/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_context(locale="ja-JP").new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.context.route(
            lambda url: not url.startswith((own, "data:", "blob:")),
            lambda route: answer(route, packages, elsewhere),
        )
        page.goto(f"{own}playground.html")
        use(page, expected)
        version = browser.version.partition(".")[0]
        browser.close()
    server.shutdown()
    require(not elsewhere, f"asks elsewhere for {elsewhere}")
    require(not problems, f"has errors: {problems}")
    return tell(format=f"playground.html in Chromium {version}, q8, streamed", runs=True)


main(Path(sys.argv[1]), Path(sys.argv[2]))
