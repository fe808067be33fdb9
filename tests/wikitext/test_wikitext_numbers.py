"""Powers, quantities and formulas: no number that the page does not show."""

import pytest

from jagpt.wikitext import to_text


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("3×10<sup>8</sup> m/s、10<sup>−19</sup> C、2<sup>10</sup>", "3×10⁸ m/s、10⁻¹⁹ C、2¹⁰"),
        ("10<SUP class='x'>3n</SUP>、x<sup>2</sup>、2<sup>n</sup>", "10³ⁿ、x²、2ⁿ"),
        (
            "10<sup>0.5</sup>、10<sup>1/2</sup>、e<sup>x</sup>、2<sup>a+1</sup>",
            "10^0.5、10^(1/2)、e^x、2^(a+1)",
        ),
        (
            "1<sup>st</sup>、M<sup>me</sup>、1<sup>e</sup>、注<sup>*1</sup>、甲<sup>乙</sup>",
            "1st、Mme、1e、注*1、甲乙",
        ),
        (
            "CO<sub>2</sub>、a<sub>n+1</sub>、x<sub>i</sub>、log<sub>10</sub>、T<sub>max</sub>",
            "CO₂、a_(n+1)、xi、log₁₀、Tmax",
        ),
        ("Ca<sup>2+</sup>、<sup>14</sup>C、OH<sup>-</sup>", "Ca²⁺、¹⁴C、OH⁻"),
        ("10{{sup|8}}、H{{sub|2}}O、{{su|p=2+|b=4}}", "10⁸、H₂O、²⁺₄"),
        ("6{{E|24}} kg、{{e|-3}}、1{{10^|5}}", "6×10²⁴ kg、×10⁻³、1×10⁵"),
        ("7{{Frac|1|2}}インチ、'''3'''{{frac|1|2}}、約{{分数|3|4}}", "7 1/2インチ、3 1/2、約3/4"),
        ("{{lang|en|5{{sfrac|3|4}}}}、<b>5</b>{{frac|3|4}}、5 {{frac|1|2}}", "5 3/4、5 3/4、5 1/2"),
        ("{{convert|7{{frac|1|2}}|in|mm}}", "7 1/2インチ (190 mm)"),
        (
            "{{chem|H|2|O}}、{{chem|SO|4|2-}}、{{chem2|C6H12O6}}、{{nuclide|U|235}}",
            "H₂O、SO₄²⁻、C₆H₁₂O₆、²³⁵U",
        ),
        (
            "6×10<sup><small>23</small></sup>個、10<sup><span style='x'>3</span></sup>倍",
            "6×10²³個、10³倍",
        ),
        ("<i>x</i><SUP>'''2'''</SUP>、10<sup>&minus;3</sup>、m<sup>²</sup>", "x²、10⁻³、m²"),
        (
            "10<sup>10<sup>100</sup></sup>、2<sup>2<sup>3</sup></sup>、e<sup>-x<sup>2</sup>/2</sup>",
            "10^(10¹⁰⁰)、2^(2³)、e^(-x²/2)",
        ),
        (
            "2<sup>2<sup>2<sup>2</sup></sup></sup>、2<sup>a<sub>1</sub></sup>、a<sup>b<sup>c</sup></sup>",
            "2^(2^(2²))、2^(a₁)、a^(b^c)",
        ),
        (
            "10{{sup|10{{sup|100}}}}、10{{sup|'''3'''}}、10{{sup|<small>3</small>}}、甲{{sup|}}乙",
            "10^(10¹⁰⁰)、10³、10³、甲乙",
        ),
    ],
)
def test_raised_and_lowered_characters(wikitext: str, expected: str) -> None:
    assert to_text(wikitext).text == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("1.67|e=-27|u=kg", "1.67×10⁻²⁷ kg"),
        ("9.109|0.005|e=-31|u=kg", "(9.109±0.005)×10⁻³¹ kg"),
        ("1.5|(3)|u=m", "1.5(3) m"),
        ("5|+1|-2|u=s", "5+1−2 s"),
        ("12345", "12,345"),
        ("20|u=%", "20%"),
        ("3|ul=m|upl=s", "3 m/s"),
    ],
)
def test_measured_values(arguments: str, expected: str) -> None:
    assert to_text(f"{{{{val|{arguments}}}}}").text == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("5|mi|km", "5マイル (8.0 km)"),
        ("3|to|5|m|ft", "3から5メートル (9.8から16.4 ft)"),
        ("3|-|5|m|ft", "3–5メートル (9.8–16.4 ft)"),
        ("10|x|20|m|ft", "10×20メートル (33×66 ft)"),
        ("3.5|and|4|kg|lb", "3.5と4キログラム (7.7と8.8 lb)"),
        ("6|ft|2|in|m", "6フィート2インチ (1.88 m)"),
        ("5|ft|11|in|cm", "5フィート11インチ (180 cm)"),
        ("70|kg|lb st", "70キログラム (154 lb; 11 st)"),
        ("100|km/h|mph|abbr=on", "100 km/h (62.1 mph)"),
        ("6|ft|2|in|m|abbr=on", "6 ft 2 in (1.88 m)"),
        ("12|km|mi|1", "12キロメートル (7.5 mi)"),
        ("1234|m|2", "1,234メートル (4,048.56 ft)"),
        ("200|mi|km|-1", "200マイル (320 km)"),
        ("1234|m|-2", "1,234メートル (4,000 ft)"),
        ("200|to|5|mi|km|sigfig=2", "200から5マイル (320から8.0 km)"),
        ("6.19|mi|km|sigfig=2", "6.19マイル (10 km)"),
        ("12|km|mi|1|sigfig=4", "12キロメートル (7.5 mi)"),
        ("100|C|F", "100 °C (212 °F)"),
        ("0.00257|AU|km mi|abbr=on", "0.00257 AU"),
        ("1|km|mi|order=flip", "0.62 mi (1キロメートル)"),
        ("1|km|mi|disp=out", "0.62 mi"),
        ("1/2|in|mm", "1/2インチ (13 mm)"),
        ("3450|m2", "3,450 m2 (37,135平方フィート)"),
        ("多数|謎", "多数 謎"),
        ("5|謎", "5 謎"),
        ("3|to|5|謎", "3から5 謎"),
        ("", ""),
    ],
)
def test_quantities(arguments: str, expected: str) -> None:
    assert to_text(f"{{{{convert|{arguments}}}}}").text == expected
