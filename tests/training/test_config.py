import json
import math
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, model_validator

from mindface.errors import ConfigError
from mindface.training.config import Config, dump_config, load_config, parse_config
from mindface.training.config_table import config_table


class Source(Config):
    path: Path
    weight: float = Field(default=1.0, gt=0, description="How often.")


class Optimizer(Config):
    name: Literal["sgd", "adamw"] = Field(default="sgd", description="The rule.")
    lr: float = Field(default=0.1, gt=0, description="Peak.")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.999)


class Foreign(BaseModel):
    share: float = 0.5


class Circle(Config):
    kind: Literal["circle"] = "circle"
    radius: float = 1.0


class Square(Config):
    kind: Literal["square"] = "square"
    side: int = 1


class Training(Config):
    name: str = "run"
    steps: int = 10
    fast: bool = False
    freeze: str | None = "stem"
    decay: float | Literal["auto"] = "auto"
    margins: dict[str, float] = Field(default={})
    optimizer: Optimizer = Optimizer(lr=0.2)
    teacher: Source | None = None
    sets: tuple[Source, ...] = ()
    foreign: Foreign = Foreign()
    shape: Annotated[Circle | Square, Field(discriminator="kind")] = Circle()

    @model_validator(mode="after")
    def _possible(self):
        if self.fast and self.steps > 100:
            raise ValueError(f"fast=true is for up to 100 steps, not {self.steps}")
        return self


class Required(Config):
    source: Source
    count: int


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "preset.yaml"
    path.write_text(
        "# mindface train ...\n"
        "optimizer: {lr: 1e-3, name: adamw}\n"
        "sets:\n- {path: a.rec}\n- {path: b.rec, weight: 3}\n"
    )
    return path


def refusal(preset, *overrides, model=Training):
    with pytest.raises(ConfigError) as found:
        load_config(model, preset, overrides)
    first, *faults = str(found.value).split("\n  ")
    assert first == f"{preset}: the configuration cannot be used:"
    return faults


def test_a_preset_fills_what_it_names(preset):
    config = load_config(Training, preset)
    assert config.optimizer == Optimizer(name="adamw", lr=0.001)
    assert config.sets == (Source(path=Path("a.rec")), Source(path=Path("b.rec"), weight=3))
    assert config.steps == 10


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optimizer.lr=0.05", "optimizer.lr", 0.05),
        ("optimizer.lr=5e-2", "optimizer.lr", 0.05),
        ("optimizer.lr=1", "optimizer.lr", 1.0),
        ("optimizer.lr=.5", "optimizer.lr", 0.5),
        ("optimizer.betas=[0, 1e-1]", "optimizer.betas", (0.0, 0.1)),
        ("optimizer={lr: 2}", "optimizer", Optimizer(lr=2)),
        ("sets.1.weight=2", "sets.1.weight", 2.0),
        ("sets.0={path: c.rec}", "sets.0", Source(path=Path("c.rec"))),
        ("sets=[{path: a=b.rec}]", "sets", (Source(path=Path("a=b.rec")),)),
        ("sets=[]", "sets", ()),
        ("teacher.path=t.onnx", "teacher", Source(path=Path("t.onnx"))),
        ("freeze=null", "freeze", None),
        ("freeze=", "freeze", None),
        ("freeze=no", "freeze", "no"),
        ("name=2026-01-02", "name", "2026-01-02"),
        ("name=1:30", "name", "1:30"),
        ("name=010", "name", "010"),
        ("name='1e-3'", "name", "1e-3"),
        ("name=Zoë", "name", "Zoë"),
        ("fast=True", "fast", True),
        ("decay=0.5", "decay", 0.5),
        ("margins.arcface=1", "margins", {"arcface": 1.0}),
        ("shape={kind: square, side: 2}", "shape", Square(side=2)),
    ],
)
def test_overrides(preset, override, path, value):
    found = load_config(Training, str(preset), [override])
    for part in path.split("."):
        found = found[int(part)] if part.isdecimal() else getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_a_section_keeps_its_own_defaults(preset):
    preset.write_text("optimizer: {momentum: 0.5}")
    assert load_config(Training, preset).optimizer == Optimizer(lr=0.2, momentum=0.5)


def test_an_override_changes_one_of_two_equal_sections(preset):
    preset.write_text("sets: [&set {path: a}, *set]")
    config = load_config(Training, preset, ["sets.1.weight=2"])
    assert [source.weight for source in config.sets] == [1, 2]


def test_the_last_override_counts(preset):
    assert load_config(Training, preset, ["steps=1", "steps=2"]).steps == 2


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("steps=1.0", "steps=1.0: should be a valid integer"),
        ("steps='1'", 'steps="1": should be a valid integer'),
        ("optimizer.lr=true", "optimizer.lr=true: should be a valid number"),
        ("optimizer.lr='0.1'", 'optimizer.lr="0.1": should be a valid number'),
        ("optimizer.lr=0", "optimizer.lr=0: should be greater than 0"),
        ("optimizer.name=adam", "optimizer.name=\"adam\": should be 'sgd' or 'adamw'"),
        ("optimizer=sgd", 'optimizer="sgd": should be an object'),
        ("foreign.share='1'", 'foreign.share="1": should be a valid number'),
        ("name=5", "name=5: should be a valid string"),
        ("decay=ato", "decay=\"ato\": should be a valid number or should be 'auto'"),
        ("sets.1.weight=-1", "sets.1.weight=-1: should be greater than 0"),
        ("sets=[{}]", "sets.0.path: must be given"),
        ("teacher.weight=2", "teacher.path: must be given"),
        ("momentun=1", "momentun: no such key, did you mean optimizer.momentum?"),
        ("optimizer.LR=1", "optimizer.LR: no such key; there are betas, lr, momentum, name"),
        ("optimizer.momentm=1", "optimizer.momentm: no such key, did you mean optimizer.momentum?"),
        ("momentum=1", "momentum: no such key, did you mean optimizer.momentum?"),
        ("optimizer.xyz=1", "optimizer.xyz: no such key; there are betas, lr, momentum, name"),
        ("sets.1.wieght=1", "sets.1.wieght: no such key, did you mean sets.1.weight?"),
        (
            "shape={kind: circle, radios: 1}",
            "shape.radios: no such key, did you mean shape.radius?",
        ),
        ("optimzer.lr=1", "optimzer: no such key, did you mean optimizer?"),
        ("steps", "'steps': write KEY=VALUE, such as optimizer.lr=0.05"),
        ("=1", "'=1': write KEY=VALUE, such as optimizer.lr=0.05"),
        ("optimizer..lr=1", "'optimizer..lr=1': write KEY=VALUE, such as optimizer.lr=0.05"),
        ("sets.2.weight=1", "sets.2.weight: the list has the items 0 to 1, no 2"),
        ("sets.-1.weight=1", "sets.-1.weight: the list has the items 0 to 1, no -1"),
        ("sets.a=1", "sets.a: the list has the items 0 to 1, no a"),
        ("optimizer.lr.x=1", "optimizer.lr.x: nothing can be inside of 0.001"),
        ("sets=[", "sets: line 1: expected the node content, but found '<stream end>'"),
        ("shape={a: 1, a: 2}", "shape: line 1: the key 'a' comes twice"),
    ],
)
def test_what_is_refused_is_said(preset, override, fault):
    assert refusal(preset, override) == [fault]


def test_all_faults_come_in_one_message(preset):
    preset.write_text("stps: 3\noptimizer: {lr: fast}\n")
    assert refusal(preset, "sets", "shape={kind: circle, radius: null}", "name=x") == [
        "'sets': write KEY=VALUE, such as optimizer.lr=0.05",
        'optimizer.lr="fast": should be a valid number',
        "shape.radius=null: should be a valid number",
        "stps: no such key, did you mean steps?",
    ]


def test_impossible_combinations_are_refused(preset):
    fault = "fast=true is for up to 100 steps, not 200"
    assert refusal(preset, "fast=true", "steps=200") == [fault]


def test_what_must_be_given_is_named(preset):
    preset.write_text("")
    assert refusal(preset, model=Required) == ["source: must be given", "count: must be given"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: [", "line 2: expected the node content"),
        (b"a: 1\n\na: 2", "line 3: the key 'a' comes twice"),
        (b"a: !!python/name:os.system", "line 1: could not determine a constructor"),
        (b"- 1", r"must be a mapping of keys to values, not \[1\]"),
        (b"base: [a]", r"base=\['a'\]: must be the name of a preset beside it"),
        (b"a: \xff", "is no text in UTF-8"),
        (b"a: \x00", "unacceptable character"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_are_no_presets(tmp_path, content, message):
    path = tmp_path / "preset.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path}.*{message}"):
        load_config(Training, path)


def chain(folder, **presets):
    for name, content in presets.items():
        (folder / f"{name}.yaml").write_text(content)


def test_a_preset_changes_its_base(tmp_path):
    chain(
        tmp_path,
        oldest="optimizer: {lr: 1, momentum: 0.5}\nsets: [{path: a}, {path: b}]\n"
        "margins: {arcface: 0.5}\n",
        middle="base: oldest\noptimizer: {lr: 2}\nsteps: 2\n",
        newest="base: middle.yaml\nsets: [{path: c}]\nmargins: {cosface: 0.4}\n",
    )
    config = load_config(Training, tmp_path / "newest.yaml", ["optimizer.name=adamw"])
    assert config.optimizer == Optimizer(name="adamw", lr=2, momentum=0.5)
    assert config.steps == 2
    assert config.sets == (Source(path=Path("c")),)
    assert config.margins == {"cosface": 0.4}


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ({"a": "base: a"}, "cannot be based on itself: a.yaml -> a.yaml"),
        ({"a": "base: b", "b": "base: c", "c": "base: b"}, "a.yaml -> b.yaml -> c.yaml -> b.yaml"),
        ({"a": "base: b"}, "b.yaml, the base of a.yaml, cannot be read: No such file"),
    ],
)
def test_bases_that_cannot_be(tmp_path, presets, message):
    chain(tmp_path, **presets)
    with pytest.raises(ConfigError, match=message):
        load_config(Training, tmp_path / "a.yaml")


def test_nothing_is_taken_for_another_type_in_python_either():
    assert Optimizer(lr=1).lr == 1.0
    for wrong in ({"lr": "1"}, {"lr": True}, {"lr": math.inf}, {"rate": 1}):
        with pytest.raises(ValidationError):
            Optimizer(**wrong)
    with pytest.raises(ValidationError):
        Optimizer().lr = 2.0


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.sampled_from(
    ["1e-3", "1e5", "null", "~", "no", "True", "010", "1:30", "", " x", "a: b", "[x", "# c", ".5"]
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
sources = st.builds(Source, path=texts.map(Path), weight=numbers.map(abs).filter(bool))
trainings = st.builds(
    Training,
    name=texts,
    freeze=st.none() | texts,
    decay=numbers | st.just("auto"),
    margins=st.dictionaries(texts, numbers),
    sets=st.lists(sources, max_size=3).map(tuple),
    teacher=st.none() | sources,
)


@given(trainings)
def test_what_is_dumped_is_read_back(config):
    assert parse_config(Training, dump_config(config), "checkpoint") == config
    assert parse_config(Training, json.dumps(config.model_dump(mode="json")), "json") == config


def test_a_fault_names_its_source():
    with pytest.raises(ConfigError, match=r"^step-00000010: the"):
        parse_config(Training, "a: 1", "step-00000010")


def test_the_table_has_every_key():
    assert config_table(Training).splitlines() == [
        "| key | type | default | what |",
        "|---|---|---|---|",
        "| `name` | string | `run` |  |",
        "| `steps` | integer | `10` |  |",
        "| `fast` | boolean | `false` |  |",
        "| `freeze` | string or null | `stem` |  |",
        "| `decay` | number or `auto` | `auto` |  |",
        "| `margins` | mapping to number | `{}` |  |",
        "| `optimizer.name` | `sgd` or `adamw` | `sgd` | The rule. |",
        "| `optimizer.lr` | number > 0 | `0.2` | Peak. |",
        "| `optimizer.momentum` | number ≥ 0, < 1 | `0.9` |  |",
        "| `optimizer.betas` | [number, number] | `[0.9, 0.999]` |  |",
        "| `teacher` | section or null | `null` |  |",
        "| `teacher.path` | path | required |  |",
        "| `teacher.weight` | number > 0 | `1.0` | How often. |",
        "| `sets` | list of section | `[]` |  |",
        "| `sets.0.path` | path | required |  |",
        "| `sets.0.weight` | number > 0 | `1.0` | How often. |",
        "| `foreign.share` | number | `0.5` |  |",
        "| `shape.kind` | `circle` | `circle` |  |",
        "| `shape.radius` | number | `1.0` |  |",
        "| `shape.kind` | `square` | `circle` |  |",
        "| `shape.side` | integer | `1` |  |",
    ]
