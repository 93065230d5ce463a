"""How long do readers of the page wait? The lab's worker, in Chromium, on twelve photographs.

Photograph k has seed k, which draws weights and mask, and a batch has the photographs after it as
well; trained networks get the fruits that they have not seen. Every run has a new worker, and its
clock starts before that. The errors are those of the pictures that the worker shows, at most one in
50 ms, so that "to MSE < 1e-2" is what a reader sees: the search was there a little earlier. A batch
counts if each of its pictures does; they are compared in the order of their classes.
`python -m benchmarks.live` prints a Markdown table and PyTorch's speed (10 minutes).
"""

import itertools
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

import torch
from playwright.sync_api import Page, sync_playwright

from benchmarks import speed
from dlgutils import Batch, attacks, data, javascript, metrics
from dlgutils.javascript import page_defenses
from dlgutils.widgets.trained import trained_networks
from tools.book.browser import launch

SUCCESS = 1e-2  # MSE
HEAD = (
    "attack",
    "network",
    "batch",
    "dropout",
    "defence",
    "evaluations",
    "MSE < 1e-2",
    "evaluations to it, median (worst)",
    "seconds to it, median (worst)",
    "evaluations a second, median",
    "labels right",
    "masks right",
)

WATCH = """([script, settings, truth]) => new Promise((resolve, reject) => {
    const shown = [];
    let read;
    const began = performance.now();
    const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
    const size = 3 * 32 * 32;
    const one = (x, at) => {
        let sum = 0;
        for (let k = at; k < at + size; k++) sum += (x[k] - truth[k]) ** 2;
        return sum / size;
    };
    const places = Array.from({ length: truth.length / size }, (_, k) => size * k);
    const error = (x) => Math.max(...places.map((at) => one(x, at)));  // of the worst picture
    const handlers = {
        shared(message) { read = message; },
        frame({ evaluation, seconds, x }) {
            const waited = (performance.now() - began) / 1000;
            shown.push({ evaluation, mse: error(x), seconds: waited, speed: evaluation / seconds });
        },
        done({ x, logits }) {
            worker.terminate();
            const labels = logits ? [logits.indexOf(Math.max(...logits))] : read.labels;
            const agrees = (m, k) => m > 0 === read.mask[k] > 0;
            const mask = read.maskRead && read.maskRead.every(agrees);
            resolve({ shown, mse: error(x), labels, mask });
        },
        failed({ message }) { reject(message); },
    };
    worker.onmessage = ({ data }) => handlers[data.kind](data);
    worker.onerror = (error) => reject(error.message);
    const trained = settings.trained && Float32Array.from(settings.trained);
    worker.postMessage({ ...settings, trained, images: Float32Array.from(truth) });
})"""


class Case(NamedTuple):
    """What the reader chooses in the lab."""

    attack: str = attacks.idlg.name
    activation: str = "sigmoid"
    weights: str = "default"
    batch: int = 1
    rate: float = 0.0
    steps: int = 100
    defense: str = "none"
    knows: bool = False  # whether the attacker knows the defence


def defended(defense: str, steps: int = 100) -> tuple[Case, Case]:
    """A defence against two attackers, of whom the second one knows it."""
    case = Case(defense=defense, steps=steps)
    return case, case._replace(knows=True)


READ = attacks.mask_reading.name
CASES = (
    Case(),
    Case(READ, rate=0.5),
    Case(READ, rate=0.9),
    Case(weights="wide", steps=300),
    Case(attacks.dlg.name),
    Case(rate=0.5),  # the naive attacker, who takes every feature as kept
    Case(batch=2, steps=300),
    Case(batch=4, steps=300),
    Case(activation="relu"),
    Case(weights="trained", steps=300),
    Case(activation="relu", weights="trained", steps=300),
    Case(attacks.features.name, weights="trained", steps=300),
    Case(attacks.features.name, activation="relu", weights="trained", steps=300),
    *itertools.chain(*map(defended, page_defenses.DEFENSES)),
)


class Run(NamedTuple):
    """What the page showed of one attack."""

    recovered: bool
    evaluations: int | None  # until the picture came; None if it never did
    seconds: float | None
    speed: float  # evaluations a second, from the attack's first on
    labels: bool
    mask: bool | None  # None where no mask is read


def secret(case: Case, k: int) -> Batch:
    """The client's images: number k and those after it, in the order of their classes."""
    rows = sorted((k + j) % 12 for j in range(case.batch))
    images = trained_networks().images if case.weights == "trained" else data.photos().x
    return Batch(images[rows], torch.tensor(rows))


def watched(page: Page, case: Case, k: int) -> Run:
    """What the page shows of the attack of a case on photograph k."""
    x, y = secret(case, k)
    settings = {
        "attack": case.attack,
        "activation": case.activation,
        "weights": case.weights,
        "trained": None,
        "rate": case.rate,
        "steps": case.steps,
        "labels": y.tolist(),
        "defense": case.defense,
        "knows": case.knows,
        "seed": k,
        "elsewhere": False,
    }
    if case.weights == "trained":
        weights = trained_networks().weights[case.activation]
        settings["trained"] = torch.cat([t.flatten() for t in weights.values()]).tolist()
    found = page.evaluate(WATCH, [javascript.worker_source(), settings, x.flatten().tolist()])
    recognisable = (shown for shown in found["shown"] if shown["mse"] < SUCCESS)
    first = next(recognisable, {})
    return Run(
        recovered=found["mse"] < SUCCESS,
        evaluations=first.get("evaluation"),
        seconds=first.get("seconds"),
        speed=found["shown"][-1]["speed"],
        labels=found["labels"] == y.tolist(),
        mask=found["mask"],
    )


def row(case: Case, runs: Sequence[Run]) -> tuple[str, ...]:
    """A row of the table."""
    there = [run for run in runs if run.seconds is not None]
    masks = [run.mask for run in runs if run.mask is not None]
    return (
        case.attack,
        f"{case.activation}, {case.weights}",
        str(case.batch),
        f"{case.rate:g}",
        f"{case.defense}, known" if case.knows else case.defense,
        str(case.steps),
        success_rate([run.recovered for run in runs]),
        median_and_worst([run.evaluations for run in there], "{:.0f}"),
        median_and_worst([run.seconds for run in there], "{:.2f}"),
        f"{median(run.speed for run in runs):.0f}",
        success_rate([run.labels for run in runs]),
        success_rate(masks) if masks else "–",
    )


def rows(page: Page, cases: Sequence[Case], photos: int) -> Iterator[tuple[str, ...]]:
    """The rows of the table, as they come."""
    for case in cases:
        yield row(case, [watched(page, case, k) for k in range(photos)])


def success_rate(successes: Sequence[bool]) -> str:
    """How many of them are true, with an interval."""
    return str(metrics.success_rate(torch.tensor(successes)))


def median_and_worst(values: Sequence[float], style: str) -> str:
    """The median, and the largest value in brackets, formatted as "{:.2f}", for example."""
    if not values:
        return "–"
    return f"{style.format(median(values))} ({style.format(max(values))})"


def main(cases: Sequence[Case] = CASES, photos: int = 12) -> None:
    """Print the table, then how fast PyTorch is for one run."""
    torch.set_num_threads(1)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        print(f"Chromium {browser.version}")
        page = browser.new_page()
        speed.table(f"The lab on {photos} photographs", HEAD, rows(page, cases, photos))
        browser.close()
    per_second = 1000 / speed.ours(1, "cpu")
    print(f"\nPyTorch {torch.__version__}, one run: {per_second:.0f} evaluations a second")


if __name__ == "__main__":
    main()
