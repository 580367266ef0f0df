import json
import sys

from weight_server import CONTENT, NAME, cache, server

__all__ = ["cache", "server"]


def test_the_list(mindface, cache):
    code, out, err = mindface("models")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert {len(row) for row in rows} == {6}
    assert ["adaface_ir18", "recognition"] in [row[:2] for row in rows]
    assert [row[0] for row in rows if row[-1] != "-"] == [
        "arcface_mobilefacenet",
        "retinaface_mobilenet025",
    ]


def test_the_list_as_json(mindface, cache):
    code, out, err = mindface("models", "--json")
    listed = {record["name"]: record for record in json.loads(out)}
    assert (code, err) == (0, "")
    assert listed["edgeface_base"]["licence"] == "CC-BY-NC-SA-4.0"
    assert listed["edgeface_base"]["accuracy"]["LFW"] == 99.83
    assert listed["edgeface_base"]["path"] is None


def test_the_table_on_a_terminal_leaves_nothing_out(mindface, server, cache, monkeypatch):
    monkeypatch.setenv("MINDFACE_CACHE", str(cache / "[red]"))
    path = mindface("models", "fetch", NAME).out.strip()
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    code, out, _ = mindface("models")
    assert code == 0
    assert "[red]" in path
    for cell in (NAME, "recognition", "MIT, permissive", "0.3 MB", path):
        assert cell in out


def test_one_model(mindface, cache):
    code, out, _ = mindface("models", "adaface_ir18")
    assert code == 0
    assert "licence_class: unknown" in out
    assert "  color: bgr" in out
    assert json.loads(mindface("models", "adaface_ir18", "--json").out)["task"] == "recognition"


def test_fetch(mindface, server):
    code, out, err = mindface("models", "fetch", NAME)
    assert code == 0
    with open(out.strip(), "rb") as file:
        assert file.read() == CONTENT
    assert "licence MIT" in err
    assert json.loads(mindface("models", NAME, "--json").out)["path"] == out.strip()
    code, again, _ = mindface("models", "fetch", NAME, "--offline", "--json")
    assert code == 0
    assert json.loads(again)["path"] == out.strip()
    assert len(server.paths) == 1


def test_what_cannot_be_done(mindface, server):
    for arguments, code, sentence in [
        (["serfed"], 5, "served"),
        (["fetch", "serfed"], 5, "served"),
        (["fetch", NAME, "--offline"], 8, "offline"),
        (["fetch"], 2, "models fetch NAME"),
        (["one", "two", "three"], 2, "one NAME"),
        ([NAME, "--offline"], 2, "fetch"),
    ]:
        result = mindface("models", *arguments, "--json")
        assert (result.code, result.out) == (code, ""), arguments
        assert sentence in result.err


def test_a_failed_download_is_one_line_and_its_own_exit_code(mindface, server):
    server.plan = [("status", 404)]
    code, out, err = mindface("models", "fetch", NAME)
    errors = [line for line in err.splitlines() if line.startswith("mindface: ")]
    assert (code, out, len(errors)) == (8, "", 1)
    assert "404" in errors[0]
