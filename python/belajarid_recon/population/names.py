"""Names: which words a person's name has, as token numbers first and as text afterwards.

The sampler works on numbers, so that ten million names can be drawn and their collisions counted without making one
string; the text of a population comes from the very same numbers. The model is that of the reference (§4.3, §4.4):
words by sex and position with the flavour of the province, the ethnic patterns, a children's variant (3 % of one
word, 12 % of boys Muhammad), and a long tail from a letter model. `names.toml` holds its numbers.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import polars as pl

from belajarid_recon.population.randomness import Draws, lower_half, scaled, u64, weighted_slots

SLOTS = 1 << 15
"""Slots of a pool: a word with less than a slot's weight is left to the tail."""

TAIL = 0xFFFF_FFFF
"""Slot value that says: a word of the tail."""

POSITIONS = ("first", "middle", "last", "only")
"""Where a word stands; `only` is the single word of a one-word name."""
SEXES = ("L", "P")
GENERATIONS = ("child", "adult")
_LETTERS_MAX = 12


def read_shipped(name: str) -> pl.DataFrame:
    """Read a shipped table of `population/data`."""
    with resources.as_file(resources.files("belajarid_recon.population") / "data" / f"{name}.parquet") as path:
        return pl.read_parquet(path)


def read_numbers(name: str) -> dict[str, Any]:
    """Read a shipped TOML of numbers (`names`, `dirt`, `drift`, `sizes`)."""
    return tomllib.loads((resources.files("belajarid_recon.population") / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class NameModel:
    """Tokens and pools, built once a population.

    `text` is the token table; `slots` is all pools one after the other. Pool number = ((style * 2 + sex) * 4 + position);
    `styles` maps (generation, province) to 256 style slots each.
    """

    text: pl.Series
    slots: pl.Series
    styles: pl.Series
    provinces: tuple[str, ...]
    tail_start: int
    tail_words: int
    word_counts: pl.Series

    def province_number(self, code: pl.Expr) -> pl.Expr:
        """The number of a province code; the first province for one the model was not built for."""
        return code.replace_strict(
            list(self.provinces), list(range(len(self.provinces))), default=0, return_dtype=pl.UInt32
        )


STYLE_SLOTS = 256
WORD_SLOTS = 1 << 12


def build_model(draws: Draws, provinces: tuple[str, ...], tail_words: int) -> NameModel:
    """Build the pools for `provinces` (6-digit codes) with `tail_words` tail words for each sex and position (first, other)."""
    numbers = read_numbers("names")
    known = _known_tokens()
    tail = pl.concat([_tail(draws, sex, place, tail_words) for sex in SEXES for place in ("F", "L")])
    text = pl.concat([known["text"], tail])
    styles, pools = _pools(known, provinces, numbers)
    return NameModel(
        text=text,
        slots=pl.concat(pools),
        styles=styles,
        provinces=provinces,
        tail_start=known.height,
        tail_words=tail_words,
        word_counts=pl.concat([_word_counts(numbers["words"][generation]) for generation in GENERATIONS]),
    )


def sample(people: pl.DataFrame, model: NameModel, draws: Draws, stream: str) -> pl.DataFrame:
    """Add token numbers `t1`…`t5` to columns row, girl (Boolean), adult (Boolean) and province (number).

    `t1` is the first word and is never null; `t5` is the last, null for one word; `t2`…`t4` fill names of three to
    five words.
    """
    shaped = _shape(people, model, draws, stream).with_columns(t2=draws.bits(f"{stream}/middle"))
    # Few names have a third or fourth middle word: multiples of the same bits are random enough for them.
    shaped = shaped.with_columns(t3=pl.col("t2") * u64(0xD1342543DE82EF95), t4=pl.col("t2") * u64(0xAF251AF3B0F025B5))
    return _choose(shaped, model, _TOKENS)


def sample_ends(people: pl.DataFrame, model: NameModel, draws: Draws, stream: str) -> pl.DataFrame:
    """Add `t1` and `t5` alone, the same ones as `sample` does: a base needs no more, nor does a mother's name."""
    return _choose(_shape(people, model, draws, stream), model, (_TOKENS[0], _TOKENS[-1]))


def _shape(people: pl.DataFrame, model: NameModel, draws: Draws, stream: str) -> pl.DataFrame:
    """Add how many words a name has, where its pools start, and the bits of its first and last word."""
    adult = pl.col("adult").cast(pl.UInt32)
    place = (adult * len(model.provinces) + pl.col("province")) * STYLE_SLOTS
    count = (adult * WORD_SLOTS + scaled(pl.col("_shape"), WORD_SLOTS)).cast(pl.UInt32)
    style = (place + lower_half(pl.col("_shape")) % STYLE_SLOTS).cast(pl.UInt32)
    # Each step is a frame of its own: inside one step a column would be computed again for every use.
    shaped = people.with_columns(_shape=draws.bits(f"{stream}/shape"))
    shaped = shaped.with_columns(
        _words=pl.lit(model.word_counts).gather(count), _style=pl.lit(model.styles).gather(style)
    )
    pool = (pl.col("_style") * 2 + pl.col("girl").cast(pl.UInt32)) * len(POSITIONS)
    tail = pl.col("girl").cast(pl.UInt64) * (2 * model.tail_words) + model.tail_start
    shaped = shaped.with_columns(_pool=pool.cast(pl.UInt64) * SLOTS, _tail=tail)
    return shaped.with_columns(t1=draws.bits(f"{stream}/first"), t5=draws.bits(f"{stream}/last"))


def _choose(shaped: pl.DataFrame, model: NameModel, tokens: tuple[tuple[str, int, int], ...]) -> pl.DataFrame:
    """Turn the bits in the token columns into token numbers."""
    first = pl.when(pl.col("_words") == 1).then(POSITIONS.index("only")).otherwise(0)
    slots = [_slot(model, name, first if name == "t1" else pl.lit(position)) for name, position, _ in tokens]
    chosen = shaped.with_columns(slots).with_columns(_token(model, *token) for token in tokens)
    return chosen.drop(*_SCRATCH, *(f"_{name}" for name, _, _ in tokens))


_TOKENS = (("t1", 0, 1), ("t2", 1, 3), ("t3", 1, 4), ("t4", 1, 5), ("t5", 2, 2))
"""Token column, its position, and the fewest words of a name that has it."""

_SCRATCH = ("_shape", "_words", "_style", "_pool", "_tail")


def _slot(model: NameModel, name: str, position: pl.Expr) -> pl.Expr:
    """The pool's slot for the word's bits: a token number, or TAIL."""
    index = pl.col("_pool") + position.cast(pl.UInt64) * SLOTS + scaled(pl.col(name), SLOTS)
    return pl.lit(model.slots).gather(index.cast(pl.UInt32)).alias(f"_{name}")


def _token(model: NameModel, name: str, position: int, words: int) -> pl.Expr:
    """The token number: the slot's own or a word of the tail; null where the name has fewer than `words` words."""
    start = pl.col("_tail") + (0 if position == 0 else model.tail_words)
    word = lower_half(pl.col(name)) * u64(model.tail_words) // u64(1 << 32)
    token = pl.when(pl.col(f"_{name}") == TAIL).then((word + start).cast(pl.UInt32)).otherwise(f"_{name}")
    return (token if words == 1 else pl.when(pl.col("_words") >= words).then(token)).alias(name)


def spell(model: NameModel, tokens: tuple[str, ...] = ("t1", "t2", "t3", "t4", "t5")) -> pl.Expr:
    """The text of token columns that `sample` made."""
    words = [pl.lit(model.text).gather(pl.col(name)) for name in tokens]
    return pl.concat_str(words, separator=" ", ignore_nulls=True)


def base_numbers(bases: pl.DataFrame) -> pl.Expr:
    """One number for the pair (first word, last word) of a row's tokens, equal exactly when the user-ID base is.

    `bases` is what `fold_bases` made; a single word pairs with nothing.
    """
    first, last = pl.lit(bases["first"]), pl.lit(bases["last"])
    own = last.gather(pl.col("t1"))
    alone = pl.when(own != first.gather(pl.col("t1"))).then(own + 1).otherwise(0)
    second = pl.when(pl.col("t5").is_null()).then(alone).otherwise(last.gather(pl.col("t5")) + 1)
    return first.gather(pl.col("t1")).cast(pl.UInt64) * u64(1 << 32) + second.cast(pl.UInt64)


def _known_tokens() -> pl.DataFrame:
    """Every listed word once, in title case: columns key (lower case) and text, sorted by key."""
    listed = read_shipped("name_tokens").select(text=pl.col("token").str.to_titlecase())
    province = read_shipped("name_provinces").select(text=pl.col("token").str.to_titlecase())
    patterns = read_shipped("name_patterns").filter(pl.col("group") != "title_in_name").select(text="token")
    every = pl.concat([patterns, listed, province]).with_columns(key=pl.col("text").str.to_lowercase())
    return every.unique("key", keep="first", maintain_order=True).sort("key").with_row_index("token")


def _word_counts(shares: list[float]) -> pl.Series:
    values = pl.Series(range(1, len(shares) + 1), dtype=pl.UInt8)
    return weighted_slots(values, pl.Series(shares), WORD_SLOTS)


def _pools(
    known: pl.DataFrame, provinces: tuple[str, ...], numbers: dict[str, Any]
) -> tuple[pl.Series, list[pl.Series]]:
    """The style slots of every (generation, province), and the pools of every style in style order."""
    pools: list[pl.Series] = []
    order: dict[str, int] = {}

    def style_number(name: str, generation: str, province: str) -> int:
        label = f"{generation}/{province}" if name == "general" else name
        if label not in order:
            order[label] = len(order)
            weights = (
                _general_weights(numbers, generation, province)
                if name == "general"
                else _pattern_weights(name, numbers)
            )
            pools.extend(_slots_of(known, weights, sex, position) for sex in SEXES for position in POSITIONS)
        return order[label]

    styles = []
    for generation in GENERATIONS:
        for province in provinces:
            shares = dict(numbers["styles"][generation].get("all", {}))
            shares.update(numbers["styles"][generation].get(province, {}))
            shares["general"] = 1.0 - sum(shares.values())
            values = pl.Series([style_number(name, generation, province) for name in sorted(shares)], dtype=pl.UInt32)
            styles.append(weighted_slots(values, pl.Series([shares[name] for name in sorted(shares)]), STYLE_SLOTS))
    return pl.concat(styles), pools


def _slots_of(known: pl.DataFrame, weights: pl.DataFrame, sex: str, position: str) -> pl.Series:
    """One pool: `weights` has key (null for the tail), sex, position, weight; weights of a pool need not add up to one."""
    chosen = weights.filter((pl.col("sex") == sex) & (pl.col("position") == position) & (pl.col("weight") > 0))
    rows = chosen.join(known.select("key", "token"), on="key", how="left").sort("token", nulls_last=True)
    return weighted_slots(rows["token"].cast(pl.UInt32).fill_null(TAIL), rows["weight"], SLOTS)


def _general_weights(numbers: dict[str, Any], generation: str, province: str) -> pl.DataFrame:
    """Listed words by sex and position: the national share, moved towards the province's; plus the tail and the fixed first words."""
    tokens = read_shipped("name_tokens").with_columns(key=pl.col("token").str.to_lowercase())
    local = read_shipped("name_provinces").filter(pl.col("kode_prov") == province)
    local = local.select("sex", key=pl.col("token").str.to_lowercase(), local=pl.col("n").cast(pl.Float64))
    flavour = numbers["province_flavour"]
    parts = []
    for position in POSITIONS:
        column = pl.col(f"n_{position}")
        rows = tokens.select("key", "sex", national=column.cast(pl.Float64)).join(local, on=["key", "sex"], how="left")
        pull = (1 + pl.col("local").fill_null(0.0) * flavour).log1p()
        rows = rows.with_columns(weight=pl.col("national") ** numbers["sharpness"][generation] * pull)
        rows = rows.with_columns(
            pl.col("weight") / pl.col("weight").sum().over("sex") * (1.0 - numbers["tail"][generation][position])
        )
        tails = pl.DataFrame(
            {"key": [None, None], "sex": list(SEXES), "weight": [numbers["tail"][generation][position]] * 2}
        )
        rows = pl.concat([rows.select("key", "sex", "weight"), tails])
        parts.append(
            _fix_shares(rows, numbers["fixed"].get(generation, {}).get(position, {})).with_columns(
                position=pl.lit(position)
            )
        )
    return pl.concat(parts)


def _fix_shares(rows: pl.DataFrame, fixed: dict[str, float]) -> pl.DataFrame:
    """Give the named words of men exactly their share and scale the rest to what is left."""
    if not fixed:
        return rows
    named = (pl.col("sex") == "L") & pl.col("key").is_in(list(fixed)) & pl.col("key").is_not_null()
    rest = pl.col("weight").filter((pl.col("sex") == "L") & ~named.fill_null(value=False)).sum()
    scaled_rest = pl.col("weight") / rest * (1.0 - sum(fixed.values()))
    share = pl.col("key").replace_strict(list(fixed), list(fixed.values()), default=0.0, return_dtype=pl.Float64)
    return rows.with_columns(
        weight=pl.when(named.fill_null(value=False))
        .then(share)
        .when(pl.col("sex") == "L")
        .then(scaled_rest)
        .otherwise(pl.col("weight"))
    )


def _pattern_weights(style: str, numbers: dict[str, Any]) -> pl.DataFrame:
    """A pattern style: which groups and slots serve each position, with the share that stays with the tail."""
    rule = numbers["patterns"][style]
    patterns = read_shipped("name_patterns").with_columns(key=pl.col("token").str.to_lowercase())
    parts = []
    for position in POSITIONS:
        wanted = pl.DataFrame(
            [source.split("/") for source in rule[_borrowed(position)]], schema=["group", "slot"], orient="row"
        )
        tail = float(rule["tail"][_borrowed(position)])
        for sex in SEXES:
            rows = patterns.filter(pl.col("sex").is_in([sex, "*"])).join(wanted, on=["group", "slot"], how="semi")
            rows = rows.group_by("key", maintain_order=True).agg(pl.col("weight").cast(pl.Float64).sum())
            rows = rows.with_columns(weight=pl.col("weight") ** rule.get("sharpness", 1.0))
            total = rows["weight"].sum() or 1.0
            rows = rows.with_columns(pl.col("weight") / total * (1.0 - tail))
            rows = pl.concat(
                [rows, pl.DataFrame({"key": [None], "weight": [tail if rows.height else 1.0]}, schema=rows.schema)]
            )
            parts.append(rows.with_columns(sex=pl.lit(sex), position=pl.lit(position)))
    return pl.concat(parts).select("key", "sex", "weight", "position")


def _borrowed(position: str) -> str:
    """Patterns have no words of their own for one-word names: first words serve."""
    return "first" if position == "only" else position


def _tail(draws: Draws, sex: str, place: str, count: int) -> pl.Series:
    """Draw `count` words from the letter model of `sex` and `place` (F first word, L later word), at most twelve letters each."""
    ngrams = read_shipped("name_ngrams").filter((pl.col("sex") == sex) & (pl.col("position") == place))
    states, slots = _letter_states(ngrams)
    width = 1 << 8
    frame = pl.DataFrame({"row": pl.int_range(count, dtype=pl.UInt32, eager=True)}).with_columns(
        state=pl.lit(0, dtype=pl.UInt32)
    )
    letters = []
    for step in range(_LETTERS_MAX):
        chance = draws.bits(f"tail/{sex}{place}/{step}")
        index = (pl.col("state").cast(pl.UInt64) * width + scaled(chance, width)).cast(pl.UInt32)
        frame = frame.with_columns(edge=pl.lit(slots).gather(index))
        letters.append(frame.select(pl.lit(states["letter"]).gather(pl.col("edge"))).to_series().alias(f"l{step}"))
        frame = frame.with_columns(state=pl.lit(states["target"]).gather(pl.col("edge")))
    words = pl.DataFrame(letters).select(pl.concat_str(pl.all(), ignore_nulls=True)).to_series()
    return words.str.to_titlecase().alias("text")


def _letter_states(ngrams: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """The letter model as a machine: edges (letter, target state) and 256 weighted edge slots for each state.

    State 0 starts a word, the last one ends it.
    """
    contexts = ngrams.select("context3").unique().sort(pl.col("context3") != "^^^", "context3").with_row_index("state")
    end = contexts.height
    edges = ngrams.sort("context3", "next").with_columns(
        context=pl.col("context3"), goal=pl.concat_str(pl.col("context3").str.slice(1), pl.col("next"))
    )
    edges = edges.join(contexts, on="context3", how="left").join(
        contexts.select(goal="context3", target="state"), on="goal", how="left"
    )
    edges = edges.with_columns(
        target=pl.col("target").fill_null(end),
        letter=pl.when(pl.col("next") == "$").then(None).otherwise(pl.col("next")),
    )
    stop = pl.DataFrame(
        {"state": [end], "n": [1], "target": [end], "letter": [None]},
        schema={k: edges.schema[k] for k in ("state", "n", "target", "letter")},
    )
    edges = (
        pl.concat([edges.select("state", "n", "target", "letter"), stop])
        .sort("state", maintain_order=True)
        .with_row_index("edge")
    )
    total = pl.col("n").cast(pl.Float64).sum().over("state")
    before = pl.col("n").cast(pl.Float64).cum_sum().over("state")
    upper = (before / total * 256).round().cast(pl.UInt32)
    edges = edges.with_columns(upper=upper).with_columns(
        count=pl.col("upper") - pl.col("upper").shift(1, fill_value=0).over("state")
    )
    slots = edges.select(pl.col("edge").repeat_by("count").explode(empty_as_null=False)).to_series()
    return edges.select("letter", "target"), slots


def fold_bases(text: pl.Series) -> pl.DataFrame:
    """Number the folded (a-z) first and last word of each token; both columns share one numbering."""
    folded = text.str.to_lowercase().str.replace_all("[^a-z ]", "").str.strip_chars()
    words = (
        folded.to_frame("name")
        .select(first=pl.col("name").str.extract(r"^(\S+)"), last=pl.col("name").str.extract(r"(\S+)$"))
        .with_columns(pl.all().fill_null(""))
    )
    both = pl.concat([words["first"], words["last"]]).rank("dense").cast(pl.UInt32)
    return pl.DataFrame({"first": both.head(len(text)), "last": both.tail(len(text))})
