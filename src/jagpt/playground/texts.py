"""The texts of the page, in English and Japanese."""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = {"日本語": "ja", "English": "en"}


@dataclass(frozen=True)
class Texts:
    """Every text of the page in one language; braces are filled in."""

    intro: str
    parameters: str
    vocabulary: str
    context: str
    demonstration: str
    prompt: str
    generate: str
    stop: str
    copy: str
    max_new_tokens: str
    temperature: str
    top_k: str
    top_p: str
    repetition_penalty: str
    samples: str
    seed: str
    seed_info: str
    keep_seed: str
    colours: str
    settings: str
    waiting: str
    busy: str
    running: str
    done: str
    stopped: str
    out_of_time: str
    too_long: str
    failed: str
    unusable: str
    empty: str
    figures: str
    ended: str
    legend: str
    less: str


ENGLISH = Texts(
    intro="Type the beginning of a text; the model continues it. What it writes is made up.",
    parameters="{count} parameters",
    vocabulary="{count:,} tokens in the vocabulary",
    context="context of {count:,} tokens",
    demonstration="A demonstration: this model has seen about 80 short pages and nothing else.",
    prompt="Beginning of the text",
    generate="Continue",
    stop="Stop",
    copy="Copy",
    max_new_tokens="New tokens",
    temperature="Temperature: higher is more varied, lower is safer",
    top_k="Top k: sample from this many of the most likely tokens; 0 for all",
    top_p="Top p: sample from the most likely tokens up to this total probability",
    repetition_penalty="Repetition penalty: higher repeats less",
    samples="Samples",
    seed="Seed",
    seed_info="The same seed gives the same text.",
    keep_seed="Keep this seed (otherwise each press draws a new one)",
    colours="Colour tokens by probability",
    settings="Settings",
    waiting="Waiting: {ahead} ahead of you.",
    busy="The page is busy right now. Please try again in a minute.",
    running="Writing …",
    done="Done.",
    stopped="Stopped.",
    out_of_time="Stopped at the limit of {seconds:g} seconds.",
    too_long="The text has {tokens:,} tokens; {model} can continue at most {most:,}.",
    failed="This cannot be continued: {reason}",
    unusable="This cannot be continued. Please try another text and other settings.",
    empty="The continuations will appear here.",
    figures="{tokens:,} tokens · {mean:.2f} nats per token",
    ended="end of text",
    legend="probability of a token:",
    less="less",
)

JAPANESE = Texts(
    intro="文章の書き出しを入力すると、モデルが続きを書きます。書かれる内容は事実とは限りません。",
    parameters="パラメータ数 {count}",
    vocabulary="語彙 {count:,} トークン",
    context="文脈長 {count:,} トークン",
    demonstration="これはデモです。このモデルは 80 ページほどの短い記事しか読んでいません。",
    prompt="書き出し",
    generate="続きを書く",
    stop="止める",
    copy="コピー",
    max_new_tokens="追加するトークン数",
    temperature="温度：1 より大きいと大胆に、小さいと無難に",
    top_k="Top k：上位何トークンから選ぶか（0 で制限なし）",
    top_p="Top p：累積確率がこの値までのトークンから選ぶ",
    repetition_penalty="繰り返しペナルティ：1 より大きいと繰り返しにくい",
    samples="本数",
    seed="シード",
    seed_info="同じシードなら同じ文章になります。",
    keep_seed="シードを固定する（固定しないと、押すたびに新しい文章になります）",
    colours="トークンを確率で色分けする",
    settings="設定",
    waiting="順番を待っています（前に {ahead} 人）。",
    busy="ただいま混み合っています。少し待ってから、もう一度お試しください。",
    running="書いています…",
    done="終わりました。",
    stopped="止めました。",
    out_of_time="このページの上限（{seconds:g} 秒）に達したので止めました。",
    too_long="書き出しが {tokens:,} トークンあり、{model} の上限（{most:,}）を超えています。",
    failed="続きを書けません：{reason}",
    unusable="続きを書けません。書き出しか設定を変えて、もう一度お試しください。",
    empty="ここに続きが表示されます。",
    figures="{tokens:,} トークン・1 トークンあたり {mean:.2f} ナット",
    ended="文章の終わり",
    legend="トークンの確率：",
    less="それ未満",
)


def texts(language: str) -> Texts:
    """The words of a language; English for any other than Japanese."""
    return JAPANESE if language == "ja" else ENGLISH


def preferred(accept_language: str) -> str:
    """The page's language for a browser's `Accept-Language`: the first one that it has."""
    for item in accept_language.split(","):
        code = item.split(";")[0].strip().lower()[:2]
        if code in LANGUAGES.values():
            return code
    return "en"
