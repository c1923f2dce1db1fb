"""Measures every way to run a few models on this machine, and writes docs/benchmarks/tune.md.

    python benchmarks/tuning.py [--models FOLDER] [--seconds 2] [--remark TEXT]

The models are the shipped classifier of digits and those of a folder; without one, a ResNet-18 and
a ResNet-50 that are exported first, which takes the export extra.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from kokeshi.card import Card
from kokeshi.engines.runtimes import this_machine
from kokeshi.settings import usable_cores
from kokeshi.tune import BOUNDS, Options, draw, tune

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks/tune.md"
EXPORTED = ("timm/resnet18", "timm/resnet50")
HEADER = """\
# Tuning

What `kokeshi tune MODEL --dry-run` found, written by `python benchmarks/tuning.py` on {date}.

Machine: {machine}; {cores} cores. {versions}.
{remark}
The choice, in bold, is the one with the most images in a second that keeps every bound of the
fidelity. The ResNets have seeded random weights, and batch normalisation that knows photographs:
their speed is that of any ResNet; but the classes that random weights name first lie close
together, so their top-1 agreement is shown and bounds nothing.
"""


def exported(names: tuple[str, ...], folder: Path) -> None:
    """Exports models with seeded weights, whose batch normalisation knows photographs."""
    from exports import calibrate  # beside this file

    from kokeshi.export import export
    from kokeshi.registry import Registry, discover

    registry = discover()
    for name in names:
        method, _, _ = registry.resolve(name)

        def watched(options, method=method):
            recipe = method.build(options)
            for part in recipe.parts:
                calibrate(part)
            return recipe

        distribution = registry.distributions[method.name]
        offered = Registry.of([(distribution, replace(method, build=watched))])
        export(name, repository=folder, untrained=True, registry=offered)


def table(card: Card) -> Iterator[str]:
    """The section of the page for one model."""
    tuning = card.tuning
    sizes = [speed.batch_size for speed in tuning.candidates[0].speeds]
    measures = [f"{one.output}: {one.measure}" for one in tuning.candidates[0].fidelity]
    heads = [f"images/s at {size}" for size in sizes]
    heads += [f"p50 ms at {sizes[0]}", f"p99 ms at {sizes[0]}", *measures, "MiB"]
    yield f"\n## {card.name}\n"
    yield f"Fidelity on {tuning.images}; int8 calibrated on {tuning.calibration or 'nothing'}.\n"
    yield f"| | {' | '.join(heads)} |"
    yield f"|---|{'---:|' * len(heads)}"
    for one in tuning.candidates:
        name = f"**{one.name}**" if one.name == tuning.chosen else one.name
        if one.failed:
            yield f"| {name} | {one.failed} {'| ' * len(heads)}|"
            continue
        first = one.speeds[0]
        cells = [f"{speed.rows_per_s:.1f}" for speed in one.speeds]
        cells += [f"{first.p50_ms:.2f}", f"{first.p99_ms:.2f}"]
        cells += [f"{it.mean:.5f}" for it in one.fidelity]
        cells += [f"{one.peak_bytes / 2**20:.0f}"]
        yield f"| {name} | {' | '.join(cells)} |"


def page(cards: list[Card], remark: str) -> str:
    tuning = cards[-1].tuning
    versions = ", ".join(f"{name} {version}" for name, version in tuning.versions.items())
    header = HEADER.format(
        date=datetime.now(UTC).date(),
        machine=tuning.hardware,
        cores=usable_cores(),
        versions=versions,
        remark=f"{remark}\n" if remark else "",
    )
    sections = [
        "\n".join([*table(card), f"\n![speed and fidelity](tune-{card.name}.svg)\n"])
        for card in cards
    ]
    return header + "\n".join(sections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, help="repository of exported models")
    parser.add_argument("--seconds", type=float, default=2.0, help="per candidate and batch size")
    parser.add_argument("--remark", default="", help="what else the machine did")
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    cards: list[Card] = []
    with TemporaryDirectory() as scratch:
        folder = asked.models or Path(scratch, "models")
        if asked.models is None:
            exported(EXPORTED, folder)
        for repository, name, options in plans(folder, Path(scratch), asked.seconds):
            cards.append(tune(repository, name, options, this_machine(), write=False))
            asked.page.write_text(page(cards, asked.remark), "utf-8")
            draw(name, cards[-1].tuning, asked.page.with_name(f"tune-{name}.svg"))
            print("\n".join(table(cards[-1])), flush=True)


def plans(folder: Path, scratch: Path, seconds: float) -> Iterator[tuple[Path, str, Options]]:
    """Repository, name and options of each model."""
    images, calibration = scans(scratch)
    yield (
        ROOT / "model_repository",
        "digits",
        Options(usable_cores(), seconds=seconds, images=images, calibration=calibration),
    )
    unbound = BOUNDS | {"top-1 agreement": 0.0}
    for model in sorted(it for it in folder.iterdir() if it.is_dir()):
        yield folder, model.name, Options(usable_cores(), seconds=seconds, bounds=unbound)


def scans(folder: Path) -> tuple[Path, Path]:
    """The scans of the demo: every other one in either of two folders."""
    images, calibration = folder / "images", folder / "calibration"
    with ZipFile(ROOT / "docs/demo/digits.zip") as archive:
        for number, name in enumerate(sorted(archive.namelist())):
            archive.extract(name, calibration if number % 2 else images)
    return images, calibration


if __name__ == "__main__":
    main()
