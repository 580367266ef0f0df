"""Writes docs/models-catalogue.md from the records of src/mindface/zoo/catalogue.yaml.

    python docs/generate_catalogue.py

A test fails where the page and the records have drifted apart.
"""

from __future__ import annotations

from pathlib import Path

from mindface.zoo import ModelRecord, records

PAGE = Path(__file__).with_name("models-catalogue.md")

HEAD = """# The model catalogue

Made by `python docs/generate_catalogue.py` from the records; not edited by hand.

`--detector` and `--recognizer` take one of these names, or the path of an `.onnx` file. Nothing is
downloaded unless you say so:

```
mindface models                  # this list, and what lies on this machine
mindface models NAME --json      # one record, whole
mindface models fetch NAME       # download, verify, print the path
```

Every file is pinned by its sha256 and hashed each time before it is loaded (about 0.6 s per GB
where the CPU has SHA extensions), so one changed bit is refused.

| variable | what it does |
|---|---|
| `MINDFACE_CACHE` | the directory that downloads are kept in |
| `MINDFACE_OFFLINE` | anything but empty or `0`: fetch never uses the network |
| `MINDFACE_MIRROR` | `https://mirror.example/base` is asked for `/base/PATH` instead of \
`https://HOST/PATH`; plain `http://` is used only where this says so |
| `https_proxy`, `http_proxy`, `no_proxy` | as everywhere |

A download goes on where it stopped, is done once however many processes want it, follows at most
five redirects, never to another scheme, and stands in its place only when its sha256 is right.

## Files of your own

A file needs a record: one given with `--record`, else `X.json` beside `X.onnx`, as
`mindface export` writes it, else the one here that has the file's sha256. A file without is
refused: colour order, mean, size and template cannot be told from a graph. A file that the
catalogue does not know has its structure checked before an engine sees it.

## Licences

The licence is the one stated for the file. Its class is *permissive*, *non-commercial*, or
*unknown* where terms are stated for the code only. `--licence-policy permissive` refuses the last
two. Mind that a permissive file may have been trained on data for research only: the column says
on which."""


COLUMNS = (
    "| name | network | licence | trained on | accuracy, % (where from: see the notes) |",
    "|---|---|---|---|---|",
)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for task, title in (("detection", "Detectors"), ("recognition", "Recognisers")):
        rows = [_row(record) for record in records() if record.task == task]
        parts.append("\n".join([f"## {title}\n", *COLUMNS, *rows]))
    parts.append("## Notes")
    parts += [_notes(record) for record in records()]
    return "\n\n".join(parts) + "\n"


def _row(record: ModelRecord) -> str:
    figures = ", ".join(f"{name} {value:g}" for name, value in record.accuracy.items())
    cells = (
        f"`{record.name}`",
        record.architecture,
        f"{record.licence} (*{record.licence_class}*)",
        record.training_data or "not stated",
        figures or "none",
    )
    return f"| {' | '.join(cells)} |"


def _notes(record: ModelRecord) -> str:
    made = record.preprocessing
    size = "any size" if made.size is None else f"{made.size[0]}x{made.size[1]}"
    what = f"{made.color.upper()}, mean {_list(made.mean)}, std {_list(made.std)}, {size}"
    if record.recognition:
        what += f"; {record.recognition.size} values"
    links = [f"[{name}]({link})" for name, link in _links(record) if link]
    place = f"[file]({record.url})" if record.url else "no public address"
    if record.calibration:
        what += f"; calibrated on {record.calibration.name}"
    return (
        f"**{record.name}**: {what}. {record.notes or ''} {', '.join([place, *links])}; "
        f"sha256 `{record.sha256}`."
    )


def _links(record: ModelRecord) -> tuple[tuple[str, str | None], ...]:
    return (("source", record.source), ("paper", record.paper))


def _list(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in dict.fromkeys(values))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
