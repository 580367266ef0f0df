"""Inference, side by side in one run: networks in engines, and the whole way photo -> embedding.

    python benchmarks/inference.py networks --shared ../shared
    python benchmarks/inference.py pipeline --shared ../shared --peers .venv-peers/bin/python
    python benchmarks/inference.py stages --shared ../shared
    python benchmarks/inference.py precision --shared ../shared
    python benchmarks/inference.py start
    python benchmarks/inference.py memory --shared ../shared
    python benchmarks/inference.py megapixels

Times are medians over rounds in which the candidates take turns, so that a drift of the machine's
speed meets all of them. The peers live in an environment of their own
(`python -m venv .venv-peers && .venv-peers/bin/pip install uniface insightface`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from reference_loop import ReferenceLoop

from mindface import FaceAnalyzer, create_model, export_model, golden
from mindface.crops import cut_faces, plausible
from mindface.detection.detector import Detector, Look, to_input
from mindface.engines import EngineOptions, open_session
from mindface.recognition.recognizer import Recognizer
from mindface.results import Analysis
from mindface.zoo import resolve

THREADS = 2
NETWORKS = (
    "retinaface_mobilenet025",
    "retinaface_resnet50",
    "mobilefacenet_112x96",
    "arcface_mobilefacenet",
    "arcface_r50",
    "arcface_r100",
    "arcface_vit_t",
    "arcface_vit_s",
    "arcface_vit_b",
    "arcface_vit_l",
)


def photos_of(shared: Path, count: int) -> list[Path]:
    """`count` real photos in an order that a fixed seed made."""
    files = sorted((shared / "data" / "celeba200" / "photos").glob("*/*.jpg"))
    random.Random(2026).shuffle(files)
    return files[:count]


def exported(shared: Path, name: str, folder: Path) -> Path:
    """The ONNX file of a network, with the shared weights where there are some."""
    published = {
        "retinaface_mobilenet025": "weights/retinaface_mobilenet025.pth",
        "mobilefacenet_112x96": "weights/mobilefacenet_casia_112x96.pth",
        "arcface_mobilefacenet": "mindface_ckpt/mobilefacenet.ckpt",
    }
    weights = shared / "data" / published[name] if name in published else None
    path = folder / f"{name}.onnx"
    if not path.exists():
        export_model(create_model(name, weights=weights), path)
    return path


def rounds(candidates: dict[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round; they take turns, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(count + 1):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def table(seconds: dict[str, list[float]], items: int) -> None:
    """Prints milliseconds an item, and how many times as fast as the first candidate."""
    base = next(iter(seconds.values()))
    width = max(map(len, seconds))
    print(f"{'':{width}}  median ms    min    max   ratio")
    for name, values in seconds.items():
        ms = [1000 * value / items for value in values]
        ratio = statistics.median(a / b for a, b in zip(base, values, strict=True))
        print(
            f"{name:{width}}  {statistics.median(ms):9.2f} {min(ms):6.2f} {max(ms):6.2f}"
            f"  {ratio:5.2f}x"
        )


def networks(shared: Path, count: int) -> None:
    """Every network in every engine and precision: one input, all threads on it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            task = "detection" if name.startswith("retinaface") else "recognition"
            model = resolve(exported(shared, name, Path(folder)), task=task)
            size = model.record.preprocessing.size or (640, 640)
            batch = np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32)
            sessions = {
                f"{engine} {precision}": open_session(
                    model, EngineOptions(engine, precision=precision, threads=THREADS)
                )
                for engine, precision in (
                    ("onnxruntime", "fp32"),
                    ("openvino", "fp32"),
                    ("openvino", "bf16"),
                )
            }
            repeat = 20 if task == "recognition" and "vit_l" not in name else 5
            candidates = {
                label: partial(_repeat, partial(session.run, batch), repeat)
                for label, session in sessions.items()
            }
            print(f"\n{name}, input {size[0]}x{size[1]}, {THREADS} threads")
            table(rounds(candidates, count), repeat)
            model.path.unlink()


def _repeat(function: Callable[[], object], count: int) -> None:
    for _ in range(count):
        function()


def pipeline(shared: Path, count: int, peers: str | None) -> None:
    """500 photos from file to embedding: the gain of each step, and the peers."""
    files = photos_of(shared, 500)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detector = exported(shared, "retinaface_mobilenet025", folder)
        recognizer = exported(shared, "arcface_mobilefacenet", folder)

        def analyzer(engine: str, precision: str, **options: object) -> FaceAnalyzer:
            settings = {"engine": engine, "precision": precision, "threads": THREADS}
            options = {"closer": None, **options}  # the same work as the loop's
            return FaceAnalyzer(Detector(detector, **options, **settings), recognizer, **settings)

        loop, calm = (
            ReferenceLoop(detector, recognizer, THREADS, spin=spin) for spin in (True, False)
        )
        ort, openvino = analyzer("onnxruntime", "fp32"), analyzer("openvino", "fp32")
        fp32, default = analyzer("auto", "fp32"), analyzer("auto", "auto")
        one_scale = analyzer("auto", "auto", scales=(1.0,))
        closer = analyzer("auto", "auto", closer=2.0)
        candidates: dict[str, Callable[[], object]] = {
            "straight loop, ONNX Runtime fp32": lambda: [loop(path) for path in files],
            "straight loop, threads that do not spin": lambda: [calm(path) for path in files],
            "one by one, ONNX Runtime fp32": lambda: [ort.analyze(path) for path in files],
            "one by one, OpenVINO fp32": lambda: [openvino.analyze(path) for path in files],
            "one by one, default": lambda: [default.analyze(path) for path in files],
            "overlapped, one photo at a time, default": lambda: list(
                default.stream(files, batch_size=1)
            ),
            "overlapped and batched, ONNX Runtime fp32": lambda: list(ort.stream(files)),
            "overlapped and batched, fp32": lambda: list(fp32.stream(files)),
            "overlapped and batched, default engines": lambda: list(default.stream(files)),
            "the same, one scale": lambda: list(one_scale.stream(files)),
            "default: looking closer where faces are small": lambda: list(closer.stream(files)),
        }
        print(f"{len(files)} photos, {THREADS} threads, milliseconds a photo")
        process = None
        if peers:
            script = Path(__file__).with_name("peers.py")
            command = [peers, str(script), str(detector), str(recognizer), str(THREADS)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([str(path) for path in files]) + "\n")
            process.stdin.flush()
            for peer in json.loads(process.stdout.readline()):
                candidates[peer] = lambda peer=peer: _ask(process, peer)
        table(rounds(candidates, count), len(files))
        if process:
            process.communicate("\n")
        for part in (default.detector, default.recognizer):
            print(f"default for {part.record.name}: {part.engine} {part.precision}")


def stages(shared: Path, count: int) -> None:
    """Where the time goes: one core's milliseconds a photo by stage, and what they must cost."""
    files = photos_of(shared, 100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"threads": 1}
        detector = Detector(
            exported(shared, "retinaface_mobilenet025", folder), closer=None, **settings
        )
        recognizer = Recognizer(exported(shared, "arcface_mobilefacenet", folder), **settings)
        opened = [detector.open(path) for path in files]
        looks = [Look.at(o, detector.input_size, s) for o in opened for s in detector.scales]
        looks.sort(key=lambda look: look.shape)
        inputs = [to_input([look], detector.record.preprocessing) for look in looks]
        faces = [plausible(found)[0] for found in detector.detect_opened(opened)]
        pairs = [(o, found) for o, found in zip(opened, faces, strict=True) if len(found)]
        crops = [crop for o, found in pairs for crop in cut_faces(o, found.landmarks)]
        heads = [recognizer._to_input(crops[i : i + 8]) for i in range(0, len(crops), 8)]
        eyes, brain = detector._sessions.alone, recognizer._sessions.alone
        candidates: dict[str, Callable[[], object]] = {
            "everything, one after the other": lambda: list(
                FaceAnalyzer(detector, recognizer).stream(files)
            ),
            "read and decode": lambda: [detector.open(path) for path in files],
            "scale and normalise": lambda: [
                to_input([look], detector.record.preprocessing) for look in looks
            ],
            f"detector ({eyes.engine} {eyes.precision})": lambda: [eyes.run(x) for x in inputs],
            "align": lambda: [cut_faces(o, found.landmarks) for o, found in pairs],
            f"recogniser ({brain.engine} {brain.precision})": lambda: [brain.run(x) for x in heads],
        }
        print(f"{len(files)} photos, {len(crops)} faces, 1 thread, milliseconds a photo")
        table(rounds(candidates, count), len(files))
        detection = sum(operations("retinaface_mobilenet025", x.shape) for x in inputs)
        recognition = len(crops) * operations("arcface_mobilefacenet", (1, 3, 112, 112))
        print(
            f"GFLOP a photo: detector {detection / 1e9 / len(files):.2f}, recogniser "
            f"{recognition / 1e9 / len(files):.2f}; one core multiplies float32 matrices at "
            f"{matrix_speed() / 1e9:.0f} GFLOP/s"
        )


def operations(name: str, shape: tuple[int, ...]) -> int:
    """Floating-point operations of a network's convolutions and linear layers on one input."""
    total = 0

    def count(layer: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * layer.weight[0].numel()

    network = create_model(name).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(shape))
    return total


def matrix_speed() -> float:
    """Floating-point operations a second of one core on large matrices, by torch's BLAS."""
    torch.set_num_threads(1)
    a = torch.rand(2048, 2048)
    seconds = rounds({"matmul": lambda: a @ a}, 5)["matmul"]
    return 2 * 2048**3 / min(seconds)


def _ask(process: subprocess.Popen[str], peer: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(peer + "\n")
    process.stdin.flush()
    process.stdout.readline()


def precision(shared: Path, total: int) -> None:
    """What bf16 in the recogniser, and in the detector, does to embeddings of real photos."""
    files = photos_of(shared, total)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = [
            exported(shared, model, folder)
            for model in ("retinaface_mobilenet025", "mobilefacenet_112x96")
        ]

        def embedded(detector: str, recognizer: str) -> list[Analysis]:
            settings = {"engine": "openvino", "threads": THREADS}
            return list(
                FaceAnalyzer(
                    Detector(models[0], precision=detector, **settings),
                    Recognizer(models[1], precision=recognizer, **settings),
                ).stream(files, largest=True)
            )

        exact = embedded("fp32", "fp32")
        shares = (0, 0.05, 0.5, 0.95, 1)
        print(f"{total} photos, quantiles {shares}")
        for parts in (("fp32", "bf16"), ("bf16", "fp32")):
            pairs = [
                (a, b)
                for a, b in zip(exact, embedded(*parts), strict=True)
                if len(a.faces) and len(b.faces)
            ]
            cosines = [float(a.embeddings[0] @ b.embeddings[0]) for a, b in pairs]
            shifts = [
                np.abs(a.faces.landmarks - b.faces.landmarks).max()
                / np.linalg.norm(a.faces.landmarks[0, 0] - a.faces.landmarks[0, 1])
                for a, b in pairs
            ]
            print(f"detector {parts[0]}, recogniser {parts[1]}")
            print("  cosine of embeddings:", np.quantile(cosines, shares).round(4))
            print("  landmarks moved, in eye distances:", np.quantile(shifts, shares).round(4))


def start(count: int, detector: Path, recognizer: Path) -> None:
    """A cold start: importing the package, and `mindface verify` on two photos."""
    folder = Path(golden.__file__).parent
    two = [str(folder / f"{name}.jpg") for name in ("eileen_collins", "grace_hopper")]
    models = ["--detector", str(detector), "--recognizer", str(recognizer)]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import mindface": [sys.executable, "-c", "import mindface"],
        "mindface verify a.jpg b.jpg": [sys.executable, "-m", "mindface", "verify", *two, *models],
    }
    candidates: dict[str, Callable[[], object]] = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
        for name, command in commands.items()
    }

    def first_time() -> None:
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"MINDFACE_CACHE": cache}
            command = commands["mindface verify a.jpg b.jpg"]
            subprocess.run(command, check=True, capture_output=True, env=environment)

    candidates["the same, engines not compared before"] = first_time
    table(rounds(candidates, count), 1)


def memory(shared: Path, total: int) -> None:
    """Resident memory while photos of ever new sizes pass through one analyzer."""
    files = photos_of(shared, 200)
    images = [cv2.imread(str(path))[..., ::-1] for path in files]
    rng = np.random.default_rng(0)

    def changing() -> object:
        for index in range(total):
            width, height = rng.integers(60, 900, 2)
            yield cv2.resize(images[index % len(images)], (int(width), int(height)))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        analyzer = FaceAnalyzer(
            exported(shared, "retinaface_mobilenet025", folder),
            exported(shared, "arcface_mobilefacenet", folder),
        )
        samples = []
        for index, _ in enumerate(analyzer.stream(changing()), 1):
            if index % (total // 10) == 0:
                samples.append(resident())
                print(f"{index:6} photos  {samples[-1]:7.1f} MiB", flush=True)
    growth = 100 * (samples[-1] / samples[0] - 1)
    print(f"growth from {total // 10} to {total} photos: {growth:+.1f}%")


def resident() -> float:
    """Resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def megapixels(shared: Path, count: int) -> None:
    """A folder of 24-megapixel JPEGs, decoded as far as needed and decoded fully."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = []
        for index, portrait in enumerate(golden.portraits() * 5):
            large = cv2.resize(portrait.image, (4000, 6000), interpolation=cv2.INTER_CUBIC)
            path = folder / f"{index}.jpg"
            cv2.imwrite(str(path), large[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
            files.append(path)
        detector = Detector(exported(shared, "retinaface_mobilenet025", folder))
        recognizer = Recognizer(exported(shared, "arcface_mobilefacenet", folder))
        analyzer = FaceAnalyzer(detector, recognizer)

        def full() -> list[object]:
            arrays = (cv2.imread(str(path))[..., ::-1] for path in files)
            return list(analyzer.stream(arrays))

        candidates = {"full decoding": full, "as needed": lambda: list(analyzer.stream(files))}
        print("10 JPEGs of 24 megapixels, milliseconds a photo")
        table(rounds(candidates, count), len(files))


def main() -> None:
    """Runs one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ("networks", "pipeline", "stages", "precision", "start", "memory", "megapixels")
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--peers", help="the Python of an environment with uniface and insightface")
    parser.add_argument("--detector", type=Path, default=Path("build/detector.onnx"))
    parser.add_argument("--recognizer", type=Path, default=Path("build/recognizer.onnx"))
    chosen = parser.parse_args()
    cv2.setNumThreads(THREADS)
    print(f"processors: {os.cpu_count()}, load: {os.getloadavg()[0]:.1f}")
    if chosen.kind == "networks":
        networks(chosen.shared, chosen.rounds)
    elif chosen.kind == "pipeline":
        pipeline(chosen.shared, chosen.rounds, chosen.peers)
    elif chosen.kind == "stages":
        stages(chosen.shared, chosen.rounds)
    elif chosen.kind == "precision":
        precision(chosen.shared, 300)
    elif chosen.kind == "start":
        start(chosen.rounds, chosen.detector, chosen.recognizer)
    elif chosen.kind == "memory":
        memory(chosen.shared, chosen.photos)
    else:
        megapixels(chosen.shared, chosen.rounds)


if __name__ == "__main__":
    main()
