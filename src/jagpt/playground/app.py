"""The gradio page: words, knobs, and what a click starts."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from jagpt import telemetry
from jagpt.errors import JagptError
from jagpt.generation import Settings, TextGenerator
from jagpt.playground import page
from jagpt.playground.desk import BusyError, Desk
from jagpt.playground.job import Job, PromptTooLongError
from jagpt.playground.limits import Limits
from jagpt.playground.texts import LANGUAGES, Texts, preferred, texts

telemetry.off()

import gradio as gr  # noqa: E402 - when its telemetry is off

EXAMPLE = "統計的推定を使うことで、"
TITLE = "jagpt playground"


@dataclass(frozen=True)
class Handlers:
    """What the page's events call: the models by name, and the desk that serves."""

    models: Mapping[str, TextGenerator]
    limits: Limits
    desk: Desk

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
        language: str,
        request: gr.Request,
    ) -> AsyncIterator[str]:
        """The page's output, again and again, as the continuations grow."""
        words = texts(LANGUAGES.get(language, "en"))
        try:
            settings = Settings(
                max_new_tokens=min(int(max_new_tokens), self.limits.max_new_tokens),
                temperature=temperature,
                top_k=int(top_k),
                top_p=top_p,
                repetition_penalty=repetition_penalty,
                num_return_sequences=min(int(samples), self.limits.max_samples),
                seed=int(seed or 0),
            )
            job = Job(dict(self.models), prompt, settings, self.limits)
            served = self.desk.serve(session(request), job)
            async for ahead in served:
                shown = page.show_job(job, words, self.limits)
                yield shown if ahead is None else page.show_waiting(ahead, words)
        except BusyError:
            yield page.show_busy(words)
        except PromptTooLongError as error:
            told = words.too_long.format(tokens=error.tokens, model=error.model, most=error.most)
            yield page.show_refusal(told)
        except (JagptError, ValueError, OverflowError) as error:
            yield page.show_refusal(words.failed.format(reason=error))

    def stop(self, request: gr.Request) -> None:
        self.desk.stop(session(request))


def session(request: gr.Request) -> str:
    """Whose request it is; one without a session stands for itself."""
    return str(request.session_hash or uuid.uuid4())


def build(models: Mapping[str, TextGenerator], limits: Limits, desk: Desk) -> Any:
    """The page for one model or two, by the names that it shows."""
    handlers = Handlers(models, limits, desk)
    words = texts("en")
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        with gr.Row():
            head = gr.HTML(_head(models, words), elem_classes="jp-head", js_on_load=None)
            language = gr.Radio(
                list(LANGUAGES), value="English", show_label=False, container=False,
                elem_id="jp-language", min_width=200, scale=0,
            )  # fmt: skip
        prompt = gr.Textbox(
            EXAMPLE, label=words.prompt, lines=3, max_length=limits.prompt_characters,
            elem_id="jp-prompt",
        )  # fmt: skip
        with gr.Row():
            generate = gr.Button(words.generate, variant="primary", elem_id="jp-generate")
            stop = gr.Button(words.stop, variant="stop", elem_id="jp-stop")
        with gr.Accordion(words.settings, open=True) as accordion:
            knobs = _knobs(models, limits, words)
            colours = gr.Checkbox(True, label=words.colours, interactive=True, elem_id="jp-colours")
        output = gr.HTML(page.show_nothing(words), elem_id="jp-output", js_on_load=None)
        generate.click(
            handlers.generate, [prompt, *knobs.values(), language], output,
            concurrency_limit=None, show_progress="hidden", api_name="generate",
        )  # fmt: skip
        stop.click(handlers.stop, None, None, queue=False, api_visibility="private")
        labelled = {"prompt": prompt, **knobs, "colours": colours, "settings": accordion}
        named = [head, generate, stop, *labelled.values()]

        def relabel(chosen: str) -> list[Any]:
            return _relabelled(models, texts(LANGUAGES.get(chosen, "en")), labelled)

        def greet(request: gr.Request) -> list[Any]:
            code = preferred(request.headers.get("accept-language", ""))
            (chosen,) = (name for name, known in LANGUAGES.items() if known == code)
            nothing = gr.update(value=page.show_nothing(texts(code)))
            return [chosen, nothing, *relabel(chosen)]

        language.change(relabel, language, named, queue=False, api_visibility="private")
        blocks.load(greet, None, [language, output, *named], queue=False, api_visibility="private")
        blocks.unload(handlers.stop)
    return blocks


def _knobs(models: Mapping[str, TextGenerator], limits: Limits, words: Texts) -> dict[str, Any]:
    """The sliders, in the order of `Handlers.generate`; first the model's own values."""
    defaults = next(iter(models.values())).defaults
    contexts = [loaded.context for loaded in models.values() if loaded.context is not None]
    longest = max(1, min([limits.max_new_tokens, *(context - 1 for context in contexts)]))

    def slider(name: str, low: float, high: float, step: float, value: float) -> Any:
        return gr.Slider(
            low, high, min(max(value, low), high), step=step,
            label=getattr(words, name), elem_id=f"jp-{name.replace('_', '-')}",
        )  # fmt: skip

    with gr.Row():
        first = {
            "max_new_tokens": slider("max_new_tokens", 1, longest, 1, defaults.max_new_tokens),
            "temperature": slider("temperature", 0.1, 2.0, 0.05, defaults.temperature),
        }
    with gr.Row():
        second = {
            "top_k": slider("top_k", 0, 200, 1, defaults.top_k),
            "top_p": slider("top_p", 0.05, 1.0, 0.01, defaults.top_p),
        }
    with gr.Row():
        third = {
            "repetition_penalty": slider(
                "repetition_penalty", 1.0, 2.0, 0.05, defaults.repetition_penalty
            ),
            "samples": slider("samples", 1, limits.max_samples, 1, min(2, limits.max_samples)),
            "seed": gr.Number(
                0, label=words.seed, info=words.seed_info, precision=0, minimum=0,
                maximum=2**31 - 1, elem_id="jp-seed",
            ),
        }  # fmt: skip
    return first | second | third


def _relabelled(
    models: Mapping[str, TextGenerator], words: Texts, labelled: Mapping[str, Any]
) -> list[Any]:
    """The page's named parts in another language, in the order of `build`."""
    labels = [gr.update(label=getattr(words, name)) for name in labelled]
    labels[list(labelled).index("seed")] = gr.update(label=words.seed, info=words.seed_info)
    return [
        gr.update(value=_head(models, words)),
        gr.update(value=words.generate),
        gr.update(value=words.stop),
        *labels,
    ]


def _head(models: Mapping[str, TextGenerator], words: Texts) -> str:
    names = " · ".join(models)
    return f"<h1>{page.clean(names)}</h1><p>{page.clean(words.intro)}</p>"
