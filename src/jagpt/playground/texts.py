"""What the page says, in English and Japanese."""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = {"日本語": "ja", "English": "en"}


@dataclass(frozen=True)
class Texts:
    """Every word of the page in one language; braces are filled in."""

    intro: str
    prompt: str
    generate: str
    stop: str
    max_new_tokens: str
    temperature: str
    top_k: str
    top_p: str
    repetition_penalty: str
    samples: str
    seed: str
    seed_info: str
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
    empty: str
    figures: str
    ended: str
    legend: str
    less: str


ENGLISH = Texts(
    intro="Write the beginning of a text; the model continues it. What it writes is invented.",
    prompt="Beginning of the text",
    generate="Continue",
    stop="Stop",
    max_new_tokens="New tokens",
    temperature="Temperature: above 1 bolder, below 1 safer",
    top_k="Top k: draw from so many likeliest tokens; 0 for all",
    top_p="Top p: draw from the likeliest tokens of this share",
    repetition_penalty="Repetition penalty: above 1, less repetition",
    samples="Samples",
    seed="Seed",
    seed_info="The same seed gives the same text.",
    colours="Colour tokens by probability",
    settings="Settings",
    waiting="Waiting: {ahead} ahead of you.",
    busy="Many people are here right now. Please come again in a minute.",
    running="Writing …",
    done="Done.",
    stopped="Stopped.",
    out_of_time="Stopped: {seconds:g} seconds are the limit of this page.",
    too_long="The text has {tokens:,} tokens; {model} can continue {most:,} at most.",
    failed="This cannot be continued: {reason}",
    empty="The continuations appear here.",
    figures="{tokens:,} tokens · {mean:.2f} nats a token",
    ended="end of text",
    legend="probability of a token:",
    less="less",
)

JAPANESE = Texts(
    intro="文章の書き出しを入力すると、モデルが続きを書きます。書かれる内容は事実とは限りません。",
    prompt="書き出し",
    generate="続きを書く",
    stop="止める",
    max_new_tokens="追加するトークン数",
    temperature="温度：1 より大きいと大胆に、小さいと無難に",
    top_k="Top k：上位何トークンから選ぶか（0 で制限なし）",
    top_p="Top p：累積確率がこの値までのトークンから選ぶ",
    repetition_penalty="繰り返しペナルティ：1 より大きいと繰り返しにくい",
    samples="本数",
    seed="シード",
    seed_info="同じシードなら同じ文章になります。",
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
    """The page's language for a browser's `Accept-Language`: the first that it has."""
    for item in accept_language.split(","):
        code = item.split(";")[0].strip().lower()[:2]
        if code in LANGUAGES.values():
            return code
    return "en"
