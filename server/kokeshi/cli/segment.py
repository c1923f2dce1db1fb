"""`kokeshi segment`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kokeshi.cli.inputs import read_image
from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, Version, connect, new_app
from kokeshi.cli.output import note, print_json, print_table
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.service.types import Segmentation

app = new_app()


@app.command()
def segment(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A segmenter.")],
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image file; - is standard input.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="PNG to write: the class of each pixel, or the foreground in grey.",
        ),
    ] = None,
    mask_format: Annotated[
        Literal["png", "rle", "polygons"], typer.Option("--format", help="Form of masks in JSON.")
    ] = "png",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="From which on a pixel is foreground.")
    ] = None,
    version: Version = 0,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Give every pixel of an image its class."""
    if output and mask_format != "png":
        raise typer.BadParameter(f"--output writes a PNG, not {mask_format}")
    with connect(server, timeout_s) as client:
        answer = client.segment(
            model,
            [read_image(image)],
            version=version,
            format=mask_format,
            threshold=threshold,
        )
    (result,) = answer.results
    if output:
        _write(output, result)
    if as_json:
        print_json({"model": answer.model, "results": [{"input": image, **vars(result)}]})
        return
    print_table(
        ["label", "index ", "pixels ", "share "],
        (
            (region.label, region.index, region.area_pixels, f"{region.area_share:.1%}")
            for region in result.regions
        ),
    )


def _write(output: Path, result: "Segmentation") -> None:
    try:
        output.write_bytes(result.foreground_png or result.label_map_png)
    except OSError as error:
        raise SetupError(f"{str(output)!r} cannot be written: {error.strerror}") from None
    note(f"wrote {output}")
