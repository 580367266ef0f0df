"""The structure of ONNX files: which are sound, and why the others are not."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mindface.errors import IntegrityError, WeightsError
from mindface.formats.onnx import MAX_DEPTH, Value, check_onnx
from mindface.formats.protobuf import length_delimited, varint

onnx = pytest.importorskip("onnx")
helper, FLOAT, INT64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def small() -> "onnx.ModelProto":
    """`y = Relu(x * w)` with `w` of four numbers."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["scaled"]),
        helper.make_node("Relu", ["scaled"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", FLOAT, ["batch", 4])
    w = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    graph = helper.make_graph(nodes, "small", [x], [y], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def weight(model: "onnx.ModelProto") -> "onnx.TensorProto":
    return model.graph.initializer[0]


def nested(depth: int) -> Callable[["onnx.ModelProto"], None]:
    def change(model: "onnx.ModelProto") -> None:
        y = helper.make_tensor_value_info("z", FLOAT, None)
        body = helper.make_graph([helper.make_node("Relu", ["scaled"], ["z"])], "g", [], [y])
        for level in range(depth - 1):
            name = f"n{level}"
            node = helper.make_node("If", ["c"], [name], then_branch=body, else_branch=body)
            value = helper.make_tensor_value_info(name, FLOAT, None)
            body = helper.make_graph([node], "g", [], [value])
        condition = helper.make_tensor("c", onnx.TensorProto.BOOL, [], [True])
        model.graph.initializer.append(condition)
        node = helper.make_node("If", ["c"], ["deep"], then_branch=body, else_branch=body)
        model.graph.node.append(node)

    return change


def attribute(**values: object) -> Callable[["onnx.ModelProto"], None]:
    return lambda model: model.graph.node[0].attribute.extend(
        helper.make_attribute(name, value) for name, value in values.items()
    )


def external(model: "onnx.ModelProto") -> None:
    weight(model).ClearField("raw_data")
    weight(model).data_location = onnx.TensorProto.EXTERNAL
    weight(model).external_data.add(key="location", value="/etc/passwd")


def replaced(tensor: "onnx.TensorProto") -> Callable[["onnx.ModelProto"], None]:
    return lambda model: weight(model).CopyFrom(tensor)


def numbers(kind: int, values: list[float]) -> "onnx.TensorProto":
    return helper.make_tensor("w", kind, [len(values)], values)


SOUND = {
    "as it is": lambda model: None,
    "typed floats": replaced(numbers(FLOAT, [1, 2, 3, 4])),
    "typed integers": replaced(numbers(INT64, [-1, 0, 127, 1 << 40])),
    "typed halves": replaced(numbers(onnx.TensorProto.FLOAT16, [1, 2, 3])),
    "typed doubles": replaced(numbers(onnx.TensorProto.DOUBLE, [1, 2])),
    "typed unsigned": replaced(numbers(onnx.TensorProto.UINT64, [1, (1 << 64) - 1])),
    "nothing in it": replaced(numbers(FLOAT, [])),
    "four bits": replaced(helper.make_tensor("w", onnx.TensorProto.INT4, [3], b"\0\0", raw=True)),
    "subgraphs": nested(3),
    "deepest subgraphs": nested(MAX_DEPTH),
    "unused input": lambda model: model.graph.node[0].input.append(""),
    "microsoft": lambda model: setattr(model.graph.node[1], "domain", "com.microsoft"),
    "no shape": lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"),
    "metadata": lambda model: model.metadata_props.add(key="a", value="b"),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_graphs_pass(name: str, tmp_path: Path) -> None:
    model = small()
    SOUND[name](model)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    summary = check_onnx(tmp_path / "a.onnx")
    assert (summary.ir_version, summary.opsets) == (8, {"": 18})
    assert [value.name for value in summary.outputs] == ["y"]


def test_the_summary_says_what_is_there(tmp_path: Path) -> None:
    model = small()
    model.graph.node[1].domain = "com.microsoft"
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    summary = check_onnx(tmp_path / "a.onnx")
    assert summary.inputs == (Value("x", "float32", ("batch", 4)),)
    assert summary.operators == {"Mul": 1, "com.microsoft.Relu": 1}
    assert (summary.nodes, summary.initializers) == (2, 1)


UNSOUND = {
    "no ir": (lambda m: m.ClearField("ir_version"), "ir_version is 0"),
    "future ir": (lambda m: setattr(m, "ir_version", 1 << 40), "ir_version is"),
    "no opset": (lambda m: m.ClearField("opset_import"), "names no version"),
    "opset 0": (lambda m: setattr(m.opset_import[0], "version", 0), "version 0"),
    "domain": (lambda m: m.opset_import.add(domain="evil.ops", version=1), "'evil.ops'"),
    "node domain": (lambda m: setattr(m.graph.node[0], "domain", "ai.onnx.ml"), "'ai.onnx.ml'"),
    "no operator": (lambda m: m.graph.node[0].ClearField("op_type"), "operator ''"),
    "no graph": (lambda m: m.ClearField("graph"), "no graph"),
    "no output": (lambda m: m.graph.ClearField("output"), "lacks an input or an output"),
    "no input": (lambda m: setattr(weight(m), "name", "x"), "nothing before it|lacks"),
    "function": (lambda m: m.functions.add(name="f"), "local functions"),
    "training": (lambda m: m.training_info.add(), "training graph"),
    "external": (external, "outside the file"),
    "external key": (lambda m: weight(m).external_data.add(key="offset"), "outside the file"),
    "segment": (lambda m: setattr(weight(m).segment, "end", 1), "segments"),
    "too small": (lambda m: setattr(weight(m), "raw_data", b"1"), r"'w' does not hold float32 \[4"),
    "no data": (lambda m: weight(m).ClearField("raw_data"), "does not hold"),
    "twice data": (lambda m: weight(m).float_data.extend([1] * 4), "does not hold"),
    "wrong field": (lambda m: weight(m).int64_data.append(1), "does not hold"),
    "text": (lambda m: weight(m).string_data.append(b"a"), "holds text"),
    "no type": (lambda m: weight(m).ClearField("data_type"), "type 0"),
    "complex": (lambda m: setattr(weight(m), "data_type", 14), "type 14"),
    "huge": (lambda m: weight(m).dims.append(1 << 40), "over 2147483648 elements"),
    "empty and huge": (lambda m: weight(m).dims.extend([0, 1 << 40]), "over 2147483648"),
    "negative": (lambda m: weight(m).dims.append(-1), r"sides \[4, -1\]"),
    "sides": (lambda m: weight(m).dims.extend([1] * 40), "a tensor of the sides"),
    "cycle": (lambda m: m.graph.node[0].input.append("y"), "'y', which nothing before it gives"),
    "undefined": (lambda m: m.graph.node[0].input.append("ghost"), "'ghost'"),
    "given twice": (lambda m: m.graph.node[1].output.append("scaled"), "'scaled' is given twice"),
    "weight twice": (lambda m: m.graph.initializer.append(weight(m)), "'w' is given twice"),
    "input twice": (lambda m: m.graph.input.append(m.graph.input[0]), "'x' is given twice"),
    "no such output": (lambda m: setattr(m.graph.output[0], "name", "ghost"), "output 'ghost'"),
    "sequence": (
        lambda m: m.graph.input[0].type.sequence_type.elem_type.SetInParent(),
        "'x' is no tensor",
    ),
    "text input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 8),
        "'x' is no tensor",
    ),
    "huge input": (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1 << 40),
        "over 2147483648",
    ),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "sparse attribute": (
        lambda m: m.graph.node[0].attribute.add(name="s").sparse_tensor.SetInParent(),
        "sparse",
    ),
    "reference": (
        lambda m: m.graph.node[0].attribute.add(name="s", ref_attr_name="t"),
        "refers to a function",
    ),
    "bad constant": (
        attribute(value=onnx.TensorProto(name="c", data_type=FLOAT, dims=[9])),
        "'c' does not hold",
    ),
    "too deep": (nested(MAX_DEPTH + 1), f"deeper than {MAX_DEPTH}"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_graphs_are_refused_with_path_and_reason(name: str, tmp_path: Path) -> None:
    change, reason = UNSOUND[name]
    model = small()
    change(model)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(IntegrityError, match=rf"a\.onnx: unsound ONNX file: .*({reason})"):
        check_onnx(tmp_path / "a.onnx")


BYTES = {
    "text": (b"hello, world", "unsound"),
    "cut": (small().SerializeToString()[:-3], "is cut"),
    "two graphs": (small().SerializeToString() * 2, "two graphs"),
    "zeros": (bytes(1000), "field number 0"),
    "many fields": (b"\x28\0" * 2_000_001, "more than 2000000 fields"),
    "graph of a number": (b"\x08\x08\x38\x01", "length-delimited"),
    "ir version of text": (b"\x0a\x01a", "should be a number"),
    "tensor twice in an attribute": (
        b"\x08\x08"
        + b"".join(
            length_delimited(
                7,
                *length_delimited(
                    1,
                    *length_delimited(4, b"Constant"),
                    *length_delimited(
                        5, *(2 * length_delimited(5, b"\x08\x01\x10\x01\x4a\x04" + bytes(4)))
                    ),
                ),
            )
        )
        + b"".join(length_delimited(8, b"\x10" + varint(18))),
        "twice",
    ),
    "cut number": (
        b"\x08\x08"
        + b"".join(length_delimited(7, *length_delimited(5, b"\x08\x01\x10\x07\x3a\x01\x80")))
        + b"".join(length_delimited(8, b"\x10" + varint(18))),
        "cut within a number",
    ),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_graph_are_refused(name: str, tmp_path: Path) -> None:
    content, reason = BYTES[name]
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(IntegrityError, match=reason):
        check_onnx(tmp_path / "a.onnx")


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.onnx").open("wb") as file:
        os.truncate(file.fileno(), (2 << 30) + 1)
    with pytest.raises(IntegrityError, match="over the limit of 2147483648"):
        check_onnx(tmp_path / "a.onnx")


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    for path, reason in ((tmp_path, "a folder, not a file"), (tmp_path / "empty.onnx", "empty")):
        with pytest.raises(WeightsError, match=reason):
            check_onnx(path)


@pytest.mark.shared
def test_real_models_pass_and_the_onnx_package_agrees(shared: Path) -> None:
    files = [*shared.glob("data/models/*.onnx"), *shared.glob("data/teachers/*.onnx")]
    assert len(files) == 8
    for path in files:
        summary, graph = check_onnx(path), onnx.load(path).graph
        given = {tensor.name for tensor in graph.initializer}
        inputs = [value.name for value in graph.input if value.name not in given]
        assert [value.name for value in summary.inputs] == inputs
        assert [value.name for value in summary.outputs] == [v.name for v in graph.output]
        assert summary.initializers == len(given)
        assert summary.nodes >= len(graph.node)


@pytest.mark.shared
def test_our_exports_pass(exported) -> None:
    assert check_onnx(exported.detector).inputs[0].shape == ("batch", 3, "height", "width")
    assert check_onnx(exported.recognizer).inputs[0].shape == ("batch", 3, 112, 96)
