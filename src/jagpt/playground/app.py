"""The gradio page: texts, controls, and what a click starts."""

from __future__ import annotations

import json
import logging
import random
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jagpt import telemetry
from jagpt.errors import JagptError, UsageError
from jagpt.generation import Settings, TextGenerator
from jagpt.playground import page
from jagpt.playground.boxes import Boxes
from jagpt.playground.desk import BusyError, Desk
from jagpt.playground.facts import facts_of
from jagpt.playground.job import Job, PromptTooLongError
from jagpt.playground.limits import Limits
from jagpt.playground.texts import LANGUAGES, Texts, preferred, texts

telemetry.off()

import gradio as gr  # noqa: E402 - after its telemetry is off

EXAMPLES = ("統計的推定を使うことで、", "富士山は、", "江戸時代の町では、")
TITLE = "jagpt playground"
SEEDS = 2**31
COPY = """() => {
    const texts = [...document.querySelectorAll("#jp-output .jp-text")].map((one) => one.innerText);
    const area = document.createElement("textarea");
    area.value = texts.join("\\n\\n");
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}"""
"""Copies the continuations; the newer clipboard API is not available to pages without TLS."""


@dataclass(frozen=True)
class Handlers:
    """What the page's events call.

    It has the models by name, the desk that serves, and the boxes in which the answers wait.
    """

    models: Mapping[str, TextGenerator]
    limits: Limits
    desk: Desk
    boxes: Boxes = field(default_factory=Boxes)

    async def generate(
        self,
        prompt: str,
        max_new_tokens: float,
        temperature: float,
        top_k: float,
        top_p: float,
        repetition_penalty: float,
        samples: float,
        seed: float | None,
        keep_seed: bool,
        request: gr.Request,
    ) -> AsyncIterator[tuple[str, int]]:
        """Yields the page's output as the continuations grow, and the seed, which is a

        new one each time unless it is kept.
        """
        used = int(seed or 0) if keep_seed else random.randrange(SEEDS)
        try:
            settings = Settings(
                max_new_tokens=min(int(max_new_tokens), self.limits.max_new_tokens),
                temperature=temperature,
                top_k=int(top_k),
                top_p=top_p,
                repetition_penalty=repetition_penalty,
                num_return_sequences=min(int(samples), self.limits.max_samples),
                seed=used,
            )
            job = Job(dict(self.models), prompt, settings, self.limits)
            visitor = session(request)
            served = self.desk.serve(visitor, job, self.boxes.listens(visitor))
            async for ahead in served:
                shown = page.show_job(job, self.limits)
                yield shown if ahead is None else page.show_waiting(ahead), used
        except BusyError:
            yield page.show_busy(), used
        except PromptTooLongError as error:
            said = {"tokens": error.tokens, "model": error.model, "most": error.most}
            yield page.show_refusal(lambda words: words.too_long.format(**said)), used
        except UsageError as error:
            reason = str(error)
            yield page.show_refusal(lambda words: words.failed.format(reason=reason)), used
        except (JagptError, ValueError, OverflowError) as error:  # it may name the server's files
            logging.getLogger(__name__).error("a request cannot be used", exc_info=error)
            yield page.show_refusal(lambda words: words.unusable), used

    def stop(self, request: gr.Request) -> None:
        self.desk.stop(session(request))


def session(request: gr.Request) -> str:
    """The session of a request; one without a session counts by itself."""
    return str(request.session_hash or uuid.uuid4())


def build(models: Mapping[str, TextGenerator], limits: Limits, desk: Desk) -> Any:
    """The page for one model or two, by displayed name."""
    handlers = Handlers(models, limits, desk)
    words = texts("en")
    facts = {name: facts_of(loaded) for name, loaded in models.items()}
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        with gr.Row():
            head = gr.HTML(page.head(facts, words), elem_classes="jp-head", js_on_load=None)
            language = gr.Radio(
                list(LANGUAGES), value="English", show_label=False, container=False,
                elem_id="jp-language", min_width=200, scale=0,
            )  # fmt: skip
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                prompt = gr.Textbox(
                    EXAMPLES[0], label=words.prompt, lines=3, elem_id="jp-prompt",
                    max_length=limits.prompt_characters,
                )  # fmt: skip
                with gr.Row():
                    generate = gr.Button(
                        words.generate,
                        variant="primary",
                        elem_id="jp-generate",
                        scale=2,
                        min_width=90,
                    )
                    stop = gr.Button(words.stop, variant="stop", elem_id="jp-stop", min_width=80)
                    copy = gr.Button(words.copy, elem_id="jp-copy", min_width=80)
                with gr.Row(elem_classes="jp-examples"):
                    for example in EXAMPLES:
                        button = gr.Button(example, size="sm", min_width=60)
                        button.click(None, None, prompt, js=f"() => {json.dumps(example)}")
                with gr.Accordion(words.settings, open=False, elem_id="jp-settings") as accordion:
                    knobs = _knobs(models, limits, words)
                    keep = gr.Checkbox(
                        False, label=words.keep_seed, interactive=True, elem_id="jp-keep-seed"
                    )
                    colours = gr.Checkbox(
                        True, label=words.colours, interactive=True, elem_id="jp-colours"
                    )
            with gr.Column(scale=3, min_width=300):
                output = gr.HTML(page.show_nothing(), elem_id="jp-output", js_on_load=None)
        generate.click(
            handlers.generate, [prompt, *knobs.values(), keep], [output, knobs["seed"]],
            concurrency_limit=None, show_progress="hidden", api_name="generate",
        )  # fmt: skip
        stop.click(handlers.stop, None, None, queue=False, api_visibility="private")
        copy.click(None, None, None, js=COPY)
        labelled = {
            "prompt": prompt, **knobs, "keep_seed": keep, "colours": colours, "settings": accordion
        }  # fmt: skip
        buttons = {"generate": generate, "stop": stop, "copy": copy}
        named = [head, *buttons.values(), *labelled.values()]

        def relabel(chosen: str) -> list[Any]:
            words = texts(LANGUAGES.get(chosen, "en"))
            values = [page.head(facts, words), *(getattr(words, name) for name in buttons)]
            labels = [{"label": getattr(words, name)} for name in labelled]
            labels[list(labelled).index("seed")]["info"] = words.seed_info
            return [
                *(gr.update(value=one) for one in values),
                *(gr.update(**one) for one in labels),
            ]

        def greet(request: gr.Request) -> list[Any]:
            code = preferred(request.headers.get("accept-language", ""))
            (chosen,) = (name for name, known in LANGUAGES.items() if known == code)
            return [chosen, *relabel(chosen)]

        language.change(relabel, language, named, queue=False, api_visibility="private")
        blocks.load(greet, None, [language, *named], queue=False, api_visibility="private")
        blocks.unload(handlers.stop)
    blocks.queue(default_concurrency_limit=None)
    handlers.boxes.replace(blocks._queue)
    return blocks


def _knobs(models: Mapping[str, TextGenerator], limits: Limits, words: Texts) -> dict[str, Any]:
    """The sliders, in the order of `Handlers.generate`; first the model's own values.

    A sampling slider reaches as far as the model's own value, however unusual that is.
    """
    defaults = next(iter(models.values())).defaults
    contexts = [loaded.context for loaded in models.values() if loaded.context is not None]
    longest = max(1, min([limits.max_new_tokens, *(context - 1 for context in contexts)]))

    def slider(name: str, low: float, high: float, step: float, value: float) -> Any:
        return gr.Slider(
            low, high, min(max(value, low), high), step=step,
            label=getattr(words, name), elem_id=f"jp-{name.replace('_', '-')}",
        )  # fmt: skip

    def knob(name: str, low: float, high: float, step: float) -> Any:
        value = getattr(defaults, name)
        return slider(name, min(low, value), max(high, value), step, value)

    with gr.Row():
        first = {
            "max_new_tokens": slider("max_new_tokens", 1, longest, 1, defaults.max_new_tokens),
            "temperature": knob("temperature", 0.1, 2.0, 0.05),
        }
    with gr.Row():
        second = {
            "top_k": knob("top_k", 0, 200, 1),
            "top_p": knob("top_p", 0.05, 1.0, 0.01),
        }
    with gr.Row():
        third = {
            "repetition_penalty": knob("repetition_penalty", 1.0, 2.0, 0.05),
            "samples": slider("samples", 1, limits.max_samples, 1, min(2, limits.max_samples)),
            "seed": gr.Number(
                0, label=words.seed, info=words.seed_info, precision=0, minimum=0,
                maximum=SEEDS - 1, elem_id="jp-seed",
            ),
        }  # fmt: skip
    return first | second | third
