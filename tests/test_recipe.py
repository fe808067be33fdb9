"""Recipes: what is accepted, and how mistakes are told."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jagpt import recipe as recipes
from jagpt.errors import RecipeError, UsageError
from jagpt.recipe import SAMPLE, Recipe
from jagpt.training.stage import TRAIN

MINIMAL = """
name = "mine"
[[corpus.source]]
name = "wiki"
path = "dump.xml.bz2"
[train]
max_steps = 10
"""


def parse(extra: str = "", *overrides: str, base: str = MINIMAL) -> Recipe:
    return recipes.parse(base + extra, overrides=overrides)


def problems(extra: str = "", *overrides: str, base: str = MINIMAL) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(extra, *overrides, base=base)
    return caught.value.problems


def test_a_minimal_recipe_has_gpt2_smalls_defaults() -> None:
    recipe = parse()
    assert (recipe.model.n_layer, recipe.model.n_head, recipe.model.n_embd) == (12, 12, 768)
    assert recipe.block_size == 1024
    assert recipe.tokens_per_step == 2 * 16 * 1024


def test_a_recipe_survives_writing_and_reading() -> None:
    recipe = parse("clip_norm = 1.0\n[release]\nprompts = ['日本の', '\"quoted\"']")
    assert recipes.parse(recipe.to_toml()) == recipe


def test_a_figure_without_a_name_survives_too() -> None:
    assert "baseline" not in parse().to_toml()
    nameless = parse("[baseline]\ntest_perplexity = 20.0")
    assert recipes.parse(nameless.to_toml()) == nameless


@pytest.mark.parametrize("name", recipes.shipped_recipes())
def test_each_shipped_recipe_is_valid_and_named_as_its_file(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipe.description


def test_the_shipped_recipes_are_those_that_the_readme_promises() -> None:
    assert set(recipes.shipped_recipes()) == {
        "own-text",
        "quickstart",
        "small",
        "small-distilled",
        "jawiki-v2-base",
        "jawiki-v2-schedule",
        "jawiki-v2-schedule-clipnorm",
    }


def test_small_distilled_is_small_and_its_teachers() -> None:
    small, distilled = (recipes.load(name).train for name in ("small", "small-distilled"))
    assert distilled.own_teachers == 2
    assert distilled.model_copy(update={"own_teachers": 0}) == small


def test_the_originals_recipes_have_exactly_its_settings() -> None:
    base, schedule, clipnorm = (
        recipes.load(f"jawiki-v2-{case}") for case in ("base", "schedule", "schedule-clipnorm")
    )
    for recipe in (base, schedule, clipnorm):
        train, model = recipe.train, recipe.model
        assert (model.n_layer, model.n_head, model.n_embd, model.n_positions) == (12, 12, 768, 1024)
        assert model.dropout == 0.1
        assert (train.batch_size, train.grad_accum_steps, recipe.block_size) == (2, 16, 1024)
        assert (train.optimizer, train.learning_rate, train.weight_decay) == ("adam", 1e-4, 0.0)
        assert (train.beta1, train.beta2, train.epsilon) == (0.9, 0.999, 1e-8)
        assert (train.precision, train.seed) == ("fp16", 1000)
        assert (train.order, train.shuffle_buffer) == ("buffer", 100_000)
        assert (recipe.corpus.split, recipe.corpus.valid_lines) == ("first-lines", 500_000)
        assert (recipe.tokens.by_line, recipe.tokens.end_token) == (True, False)
    assert (base.train.schedule, base.train.max_epochs) == ("constant", 10)
    for recipe in (schedule, clipnorm):
        assert (recipe.train.schedule, recipe.train.max_epochs) == ("linear", 30)
        assert (recipe.train.warmup_steps, recipe.train.decay_steps) == (10_000, 476_700)
    assert [r.train.clip_norm for r in (base, schedule, clipnorm)] == [None, None, 1.0]


def test_a_dumps_file_name_tells_its_date() -> None:
    named = parse("", "corpus.source.path=/x/jawiki-20210820-pages-articles.xml.bz2")
    assert named.corpus.source[0].date == "20210820"
    assert parse("", "corpus.source.path=/x/20210820.xml").corpus.source[0].date is None


def test_overrides_reach_every_kind_of_value() -> None:
    recipe = parse(
        "",
        "train.learning_rate=3e-4",
        "name=other",
        "train.deterministic=false",
        "release.prompts=['a', 'b']",
        "corpus.source.wiki.licence=cc0-1.0",
        "corpus.source.0.date=20260101",
    )
    assert recipe.train.learning_rate == 3e-4
    assert recipe.name == "other"
    assert recipe.train.deterministic is False
    assert recipe.release.prompts == ("a", "b")
    assert recipe.corpus.source[0].licence == "cc0-1.0"
    assert recipe.corpus.source[0].date == "20260101"


@pytest.mark.parametrize(
    "text",
    ['"five" # the fifth', "5 # the fifth", '"a"\nb=3', "[1] # one", "1,", "1]#", '"a"\n[train]'],
)
def test_an_override_is_text_as_it_stands_unless_it_is_one_whole_value(text: str) -> None:
    assert parse("", f"release.notes={text}").release.notes == text
    many = parse("", "release.prompts=['a', # the first\n 'b']").release.prompts
    assert many == ("a", "b")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.learning_rate", "SECTION.KEY=VALUE"),
        ("=3", "SECTION.KEY=VALUE"),
        pytest.param(".".join("a" * 20_000) + "=3", "SECTION.KEY=VALUE", id="deep"),
        ("corpus.source.nobody.path=x", "no table corpus.source.nobody"),
        ("name.first=x", "is not a table"),
        ("train.learning_rte=1", "learning_rte"),
        (
            "tokens.from_=x",
            "[tokens] from_: found a key that does not exist (did you mean 'from'?)",
        ),
    ],
)
def test_a_wrong_override_is_explained(override: str, words: str) -> None:
    assert words in problems("", override)[0]


def test_paths_are_relative_to_the_recipe_and_overrides_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(MINIMAL)
    assert recipes.load(tmp_path / "mine.toml").corpus.source[0].path == str(
        tmp_path / "dump.xml.bz2"
    )
    monkeypatch.chdir(tmp_path)
    loaded = recipes.load(tmp_path / "mine.toml", ["corpus.source.path=here.xml"])
    assert loaded.corpus.source[0].path == str(tmp_path / "here.xml")
    assert recipes.load("quickstart").corpus.source[0].path == SAMPLE


PLACES = """
name = "mine"
[corpus]
from = "theirs"
[tokenizer]
from = "./pieces"
[tokens]
from = "../theirs"
[model]
from = "org/name"
[train]
max_steps = 1
teacher = ["org/other", "/runs/b"]
"""


def test_every_place_in_a_recipe_is_beside_it_whether_it_exists_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in tables given with `--set` are beside the current folder, and so are Python's."""
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("here/theirs", "here/pieces", "there"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(here)
    (there / "mine.toml").write_text(PLACES)
    made = recipes.load(there / "mine.toml")
    assert made.corpus.from_ == str(there / "theirs")
    assert made.tokenizer.from_ == str(there / "pieces")
    assert made.tokens.from_ == str(there / "../theirs")
    assert (made.model.from_, made.train.teacher) == ("org/name", ("org/other", "/runs/b"))
    set_of = 'kind = "hf", dataset = "./set"'
    listed = f'corpus.source = [{{name = "n", path = "n.xml"}}, {{name = "s", {set_of}}}]'
    (there / "set.toml").write_text(f'name = "mine"\n{listed}\n[train]\nmax_steps = 1\n')
    values = [{"name": "n", "path": Path("n.xml")}, {"name": "s", "kind": "hf", "dataset": "./set"}]
    for loaded, folder in (
        (recipes.load(there / "set.toml"), there),
        (recipes.load("quickstart", [listed.replace(" = [", "=[", 1)]), here),
        (recipes.load("quickstart", values={"corpus": {"source": values}}), here),
    ):
        plain, data_set = loaded.corpus.source
        assert (plain.path, data_set.dataset) == (str(folder / "n.xml"), str(folder / "set"))
    (there / "set.toml").write_text((there / "set.toml").read_text().replace("./set", "org/set"))
    hub = recipes.load(there / "set.toml", ["corpus.source.s.revision=v1"]).corpus.source[1]
    assert hub.dataset == "org/set"


def changed(**values: object) -> Recipe:
    return recipes.load("quickstart", values=values)


def test_pythons_values_are_taken_as_they_are() -> None:
    np = pytest.importorskip("numpy")
    said = changed(release={"notes": 'a\x7f"\nb # c', "title": "5", "prompts": ("null",)}).release
    assert (said.notes, said.title, said.prompts) == ('a\x7f"\nb # c', "5", ("null",))
    assert recipes.parse(changed(release={"notes": "a\x7fb"}).to_toml()).release.notes == "a\x7fb"
    made = changed(name="mine", train={"max_steps": np.int64(50), "learning_rate": np.float32(1)})
    assert (made.name, made.train.max_steps, made.train.learning_rate) == ("mine", 50, 1.0)
    assert changed(search={"keys": {"train.learning_rate": {"choice": [1e-3]}}}).search.keys


def test_pythons_tables_merge_and_none_takes_a_key_out() -> None:
    before = changed()
    assert before.release.licence is not None
    assert changed(release={"licence": None}).release.licence is None
    assert changed(release=None, tokenizer={"from": None}).release == recipes.Release()
    assert changed(train={}, corpus={"exclude": {}}) == before
    config = {"type": "llama", "config": {"intermediate_size": 64}}
    assert changed(model=config).model.config == {"intermediate_size": 64}
    assert changed(corpus={"templates": {"a.b": "{1}"}}).corpus.templates == {"a.b": "{1}"}
    (source,) = changed(corpus={"source": {"licence": "cc0-1.0"}}).corpus.source
    assert source == before.corpus.source[0].model_copy(update={"licence": "cc0-1.0"})
    assert changed(corpus={"source.licence": "cc0-1.0"}).corpus.source == (source,)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trian": {}}, "trian: found a key that does not exist"),
        ({"train": 5}, "[train] table: found 5; expected a table"),
        ({"name": {"first": "x"}}, "name.first: name is not a table"),
        ({"train": {"max_steps": {1}}}, "train.max_steps: found set; expected a number"),
        ({"release": {"prompts": [None]}}, "release.prompts: found NoneType; expected"),
        ({"corpus": {"source": {"nobody": {"path": "x"}}}}, "no table corpus.source.nobody"),
        ({"train": {"max_steps": "5"}}, "[train] max_steps: found '5'; expected an integer"),
    ],
)
def test_a_python_value_that_does_not_fit_is_told_with_its_key(
    values: dict[str, object], words: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        changed(**values)
    assert words in str(caught.value)


def test_a_run_directory_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(MINIMAL)
    assert recipes.load(tmp_path).name == "mine"


def test_an_unknown_recipe_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'quickstart'"):
        recipes.load("quickstrat")


TEN_MISTAKES = """
name = "a b"
nmae = "x"
[[corpus.source]]
name = "wiki"
kind = "dmp"
[tokenizer]
vocab_size = "8000"
tpye = "bpe"
[model]
n_embd = 770
[train]
learning_rate = -1
schedule = "cosin"
warmup_steps = 1.5
[trian]
seed = 1
"""


def test_all_mistakes_are_told_at_once_with_place_finding_and_allowance() -> None:
    found = "\n".join(problems(base=TEN_MISTAKES))
    for words in (
        "name: found 'a b'; expected a string of the form",
        "nmae: found a key that does not exist (did you mean 'name'?)",
        "[corpus] source.0.kind: found 'dmp'; allowed are dump, text, jsonl, parquet, "
        "wikitext, cirrus, wikiextractor, hf (did you mean 'dump'?)",
        "[tokenizer] vocab_size: found '8000'; expected an integer",
        "[tokenizer] tpye: found a key that does not exist (did you mean 'type'?)",
        "[model] n_embd: found 770; it must be a multiple of n_head (12)",
        "[train] learning_rate: found -1; allowed is more than 0.0",
        "[train] schedule: found 'cosin'; allowed are constant, linear, cosine",
        "[train] warmup_steps: found 1.5; expected an integer",
        "trian: found a key that does not exist (did you mean 'train'?)",
    ):
        assert words in found


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("[model]\nn_embd = 100\nn_head = 3", "[model] n_embd: found 100"),
        ("warmup_steps = 11", "[train] warmup_steps: found 11; allowed is max_steps (10) or less"),
        ("block_size = 2048", "[train] block_size: found 2048; allowed is n_positions (1024)"),
        ("schedule = 'constant'\ndecay_steps = 5", "[train] decay_steps"),
        ("warmup_steps = 5\ndecay_steps = 5", "more than warmup_steps (5)"),
        ("optimizer = 'adam'", "[train] weight_decay"),
        ("document_mask = true\n[tokens]\nend_token = false", "[train] document_mask: found true"),
        ("[corpus]\nvalid_share = 0.5\ntest_share = 0.5", "the sum must be below 1"),
        ("[corpus]\nfrom = 'runs/x'", "[corpus] from"),
        ("[tokens]\nfrom = 'runs/x'", "[tokens] from: found 'runs/x'; the corpus comes from"),
        ("[tokenizer]\nrevision = 'main'", "[tokenizer] revision"),
        ("[tokenizer]\nnormalization = 'nmt_nfkc'", "[tokenizer] byte_fallback: found true"),
        ("[tokenizer]\nadd_dummy_prefix = true", "[tokenizer] byte_fallback: found true"),
        ("[evaluate]\ncheckpoint = 'newest'", "[evaluate] checkpoint"),
        ("[execution]\nworkers = 0", "[execution] workers: found 0; allowed is 1 or more"),
        ("learning_rate = nan", "[train] learning_rate"),
        ("learning_rate = inf", "[train] learning_rate"),
        ("[release]\nprompts = []", "[release] prompts"),
        ("[release]\nprompts = ['a', '']", "[release] prompts: found ['a', '']; expected texts"),
        ("[release]\nprompts = [' \u3000']", "[release] prompts: found"),
        ("[release]\nrevision = '1.0'", "[release] revision"),
        ("[baseline]\nvalid_loss = 0.0", "[baseline] valid_loss: found 0.0; allowed is more"),
    ],
)
def test_impossible_values_and_combinations_are_refused(extra: str, words: str) -> None:
    base = MINIMAL
    if extra.startswith("[corpus]"):
        source = base[base.index("[[corpus") : base.index("[train]")]
        base = base.replace(source, "") + extra + "\n" + source
        extra = ""
    assert any(words in problem for problem in problems(extra, base=base))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('kind = "dump"', "a dump needs a `path`, or `wiki` and `date`"),
        ('kind = "dump"\nwiki = "jawiki"', "a dump needs a `path`, or `wiki` and `date`"),
        ('kind = "text"', "a text source needs a `path`"),
        ('kind = "text"\npath = "x"\nwiki = "jawiki"', "needs kind"),
        ('kind = "dump"\npath = "x"\nlayout = "line"', "needs kind"),
        ('kind = "jsonl"', "a jsonl source needs a `path`"),
        ('kind = "text"\npath = "x"\ncolumn = "body"', "needs kind"),
        ('kind = "cirrus"\npath = "x"\nid_column = "id"', "needs kind"),
        ('kind = "parquet"\npath = "x"\ndataset = "a/b"', 'needs kind = "hf"'),
        ('kind = "hf"', "the id of the data set is required"),
        ('kind = "hf"\ndataset = "a/b"', "the commit or tag of the data set is required"),
        ('kind = "hf"\ndataset = "./b"\npath = "x"', "name the data set with `dataset`"),
        ('path = "x"\ndate = "yesterday"', "a string of the form"),
    ],
)
def test_a_source_that_names_no_data_is_refused(source: str, words: str) -> None:
    base = f'name = "a"\n[[corpus.source]]\nname = "s"\n{source}\n[train]\nmax_steps = 1\n'
    assert any(words in problem for problem in problems(base=base))


def test_a_mirror_with_a_password_is_refused_and_not_shown() -> None:
    assert parse('[execution]\nmirror = "https://h/dumps/"').execution.mirror == "https://h/dumps/"
    (problem,) = problems('[execution]\nmirror = "http://me:SECRET@h"')
    assert problem.startswith("[execution] mirror: found an address; it contains a user")
    assert "SECRET" not in problem


NUMBERS = ["0x" + "F" * 5000, "-1" + "0" * 301]


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "tokenizer.vocab_size",
        "train.seed",
        "train.learning_rate",
        "train.block_size",
        "corpus.source.kind",
        "evaluate.checkpoint",
        "model.config.x",
        "baseline.holds.x",
    ],
)
@pytest.mark.parametrize("number", NUMBERS)
def test_an_integer_of_more_than_64_bits_is_refused_wherever_it_is(key: str, number: str) -> None:
    (problem,) = problems("", f"{key}={number}")
    assert "an integer of more than 64 bits" in problem
    assert key.rpartition(".")[2] in problem
    assert parse("", f"train.seed={2**64 - 1}").train.seed == 2**64 - 1


def test_it_is_told_what_a_key_allows_where_it_allows_less() -> None:
    large = 2**64 + 1
    (seed,) = problems("", f"train.seed={large}")
    assert f"found {large}; allowed is {2**64 - 1} or less" in seed
    (untyped,) = problems("", f"model.config.x=[1, {large}]")
    assert untyped.startswith("[model] config.x.1: found an integer of more than 64 bits")


@pytest.mark.parametrize("name", ["train.learning_rate", "model.n_layer"])
def test_a_search_refuses_them_too(name: str) -> None:
    keys = f"search.keys={{'{name}'={{choice=[1{'0' * 400}]}}}}"
    assert problems("", keys) == [
        f"[search] keys.{name}.choice.0: found an integer of more than 64 bits; "
        "expected a smaller number"
    ]


def test_a_key_beside_the_codes_name_of_it_is_told_once() -> None:
    (problem,) = problems("", "tokens.from_=x", "tokens.from=y")
    assert "from_: found a key that does not exist" in problem


def test_two_sources_of_one_name_are_refused() -> None:
    twice = MINIMAL.replace("[train]", '[[corpus.source]]\nname = "wiki"\npath = "b"\n[train]')
    assert "'wiki' more than once" in problems(base=twice)[0]


def test_a_recipe_without_steps_or_epochs_is_refused() -> None:
    assert "`max_steps` or `max_epochs`" in problems(base=MINIMAL.replace("max_steps = 10", ""))[0]


@pytest.mark.parametrize("text", [b"\xff\xfe", b"= 1", b"name = ", b"[a\n"])
def test_what_is_not_toml_is_told_so(text: bytes) -> None:
    with pytest.raises(RecipeError, match=r"not TOML|not UTF-8"):
        recipes.parse(text)


HUGE = 10**400
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.just(HUGE)
    | st.floats()
    | st.text(max_size=5)
)
KEYS = st.sampled_from([*recipes.SECTIONS, "name", "source", "x"])
TABLES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, TABLES))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
def test_any_table_is_a_recipe_or_a_recipe_error(table: dict[str, object]) -> None:
    with contextlib.suppress(RecipeError):
        recipes.validated(table, "any")


def test_places_never_enter_the_semantic_fields() -> None:
    one = parse()
    other = parse("", "corpus.source.path=elsewhere.xml")
    assert one != other
    assert one.corpus.semantic() == other.corpus.semantic()
    assert one.corpus.semantic() != parse("", "corpus.source.licence=x").corpus.semantic()


def test_a_sources_weight_is_trainings_alone() -> None:
    plain, heavy = parse(), parse("", "corpus.source.weight=2.5")
    assert heavy.corpus.weights == {plain.corpus.source[0].name: 2.5}
    assert heavy.corpus.semantic() == plain.corpus.semantic()
    assert (
        TRAIN.semantic(heavy)
        != TRAIN.semantic(plain)
        == TRAIN.semantic(parse("", "corpus.source.weight=1.0"))
    )
    assert any("[corpus] source.0.weight: found 11" in text for text in
               problems("", "corpus.source.weight=11.0"))  # fmt: skip
    both = problems("", "corpus.source.weight=2.0", 'train.order="blocks"')
    assert any("[train] order: found 'blocks'" in text for text in both)


# --- filters and templates ------------------------------------------------------------------------


def test_exclusions_and_templates_are_semantic_and_written_again() -> None:
    plain = parse("")
    made = parse(
        '[corpus.exclude]\nids = [12, "w:13"]\ntitles = ["甲"]\n'
        '[corpus.templates]\n"雛形" = "{1}"\n"不要" = ""\n'
    )
    assert made.corpus.exclude.ids == ("12", "w:13")
    assert made.corpus.templates == {"雛形": "{1}", "不要": ""}
    assert recipes.parse(made.to_toml()) == made
    assert made.corpus.semantic() != plain.corpus.semantic()
    assert made.corpus.semantic()["exclude"]["titles"] == ["甲"]
    assert parse("", 'corpus.exclude.titles=["甲"]').corpus.exclude.titles == ("甲",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[corpus.templates]\n"雛形" = "<{1}"', "[corpus.templates] 雛形: found '<{1}'; a brace"),
        ('[corpus.templates]\n"雛形" = "{1"', "[corpus.templates] 雛形: found '{1'; a brace or"),
        ("[corpus.templates]\na = 1", "[corpus] templates.a: found 1; expected a string"),
        ('[corpus.exclude]\ntitel = ["a"]', "did you mean 'titles'"),
        ('[corpus.exclude]\ntitles = "a"', "[corpus] exclude.titles: found 'a'; expected a list"),
        ("[corpus.exclude]\nids = [1.5]", "[corpus] exclude.ids.0: found 1.5; expected a string"),
    ],
)
def test_a_bad_row_is_named_by_its_key(table: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(table + "\n")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [0.1, 0.49, 1.01, -0.5])
def test_a_similarity_too_low_to_look_for_is_refused(value: float) -> None:
    with pytest.raises(RecipeError, match="drop_near_duplicates"):
        parse("", f"corpus.drop_near_duplicates={value}")
    assert parse("", "corpus.drop_near_duplicates=0.5").corpus.drop_near_duplicates == 0.5


def test_a_run_named_in_an_override_is_relative_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    text = 'name = "mine"\n[train]\nmax_steps = 1\n'
    overrides = ["corpus.from=runs/a", "tokenizer.from=some/hub-id"]
    found = recipes.parse(text, folder=tmp_path / "elsewhere", overrides=overrides)
    assert found.corpus.from_ == str((tmp_path / "runs" / "a").resolve())
    assert found.tokenizer.from_ == "some/hub-id"


def test_a_checkpoints_step_needs_no_quotes() -> None:
    assert parse("", "evaluate.checkpoint=5000").evaluate.checkpoint == "5000"
    assert parse("", "export.checkpoint=last").export.checkpoint == "last"


# --- micro-batches --------------------------------------------------------------------------------


def test_a_steps_sequences_stand_for_its_passes() -> None:
    said = recipes.load("quickstart", ["train.sequences_per_step=32"])
    assert (said.train.batch_size, said.train.grad_accum_steps) == (8, 4)
    plain = recipes.load("quickstart", ["train.grad_accum_steps=4"])
    assert said.train.semantic() == plain.train.semantic()
    lower = recipes.load("small", ["train.batch_size=2"])
    assert (lower.train.grad_accum_steps, lower.tokens_per_step) == (64, 128 * 1024)


def test_a_micro_batch_that_is_left_open_survives_writing_and_reading() -> None:
    small = recipes.load("small")
    assert small.train.batch_is_open
    assert (small.train.sequences, small.tokens_per_step) == (128, 128 * 1024)
    assert recipes.parse(small.to_toml()) == small
    assert "grad_accum_steps" not in small.train.semantic()
    lower = recipes.parse(small.to_toml(), overrides=["train.batch_size=4"])
    assert lower.train.grad_accum_steps == 32
    assert small.train.in_batches_of(16).grad_accum_steps == 8


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.batch_size=auto"], r"sequences_per_step: found nothing; batch_size = \"auto\""),
        (["train.batch_size=auto", "train.sequences_per_step=8", "train.grad_accum_steps=4"],
         "grad_accum_steps: found 4; with batch_size = \"auto\", give sequences_per_step"),
        (["train.batch_size=3", "train.sequences_per_step=32"],
         r"sequences_per_step: found 32; batch_size × grad_accum_steps is 3"),
        (["train.batch_size=automatic"], "batch_size: found 'automatic'; expected an integer"),
        (["train.batch_size=0"], "batch_size: found 0; allowed is 1 or more"),
    ],
)  # fmt: skip
def test_micro_batches_that_do_not_go_together_are_refused(
    overrides: list[str], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        recipes.load("quickstart", overrides)
