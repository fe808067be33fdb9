"""Character references: &nbsp;, &amp;, &#12354;."""

import re
from html import unescape

# Past the end of Unicode; `unescape` gives up with a ValueError on thousands of digits.
_OVERLONG = re.compile(r"&#[0-9]{8,}+;?")


def decode_entities(text: str) -> str:
    """`text` with its character references replaced; a space that does not break is a space."""
    if "&" in text:
        if "&#" in text:
            text = _OVERLONG.sub("", text)
        text = unescape(text)
    return text.replace("\xa0", " ") if "\xa0" in text else text
