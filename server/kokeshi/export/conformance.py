"""The conformance suite: what every plugin has to keep, for its authors to run in their own tests.

    from kokeshi.export.conformance import parametrize_with_checks

    @parametrize_with_checks(PLUGINS)
    def test_plugin(check):
        check()

A check that fails raises a `SetupError` that says what was expected.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import FrozenInstanceError, dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from kokeshi.engines.config import CONFIG_FILE, card_from, from_pbtxt
from kokeshi.errors import PluginError
from kokeshi.export.pipeline import export
from kokeshi.plugin import Checkpoint, Diagnostic, Method, Paper, Plugin, Retriever
from kokeshi.registry import Registry

if TYPE_CHECKING:
    import pytest

NAME: Final = re.compile(r"[a-z0-9_]+")
_EARLIEST_YEAR: Final = 1950
_HEAVY: Final = ("torch", "torchvision", "timm", "open_clip")


@dataclass(frozen=True)
class Check:
    """One thing that a plugin has to keep."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Runs the check; raises what it finds."""
        self.run()


def parametrize_with_checks(
    plugins: Iterable[Plugin], exported: Collection[str] | None = None
) -> "pytest.MarkDecorator":
    """A pytest decorator that runs a test once for each check of each plugin.

    Args:
        plugins: the plugins; a checkpoint's method has to be among them.
        exported: variants and checkpoints to export with untrained weights; None means all.
    """
    import pytest

    offered = tuple(plugins)
    checks = [check for plugin in offered for check in checks_for(plugin, offered, exported)]
    return pytest.mark.parametrize("check", checks, ids=[check.name for check in checks])


def checks_for(
    plugin: Plugin, plugins: Iterable[Plugin] = (), exported: Collection[str] | None = None
) -> list[Check]:
    """The checks of one plugin.

    Args:
        plugin: the plugin.
        plugins: the others; a checkpoint's method has to be among them.
        exported: see `parametrize_with_checks`.
    """
    others = [other for other in plugins if other is not plugin]
    names: tuple[str, ...] = (plugin.name,) if isinstance(plugin, Checkpoint) else ()
    if isinstance(plugin, Method):
        names = plugin.variants
    wanted = [name for name in names if exported is None or name in exported]
    return [
        Check(f"{plugin.name}: record is complete", lambda: check_record(plugin)),
        Check(f"{plugin.name}: names keep the grammar", lambda: check_names(plugin)),
        Check(f"{plugin.name}: imports no torch", lambda: check_import(plugin)),
        *(
            Check(f"{name}: exports and agrees", partial(check_export, name, plugin, others))
            for name in wanted
        ),
    ]


def check_record(plugin: Plugin) -> None:
    """The record is frozen, and says who published what under which licence.

    Raises:
        PluginError: a field is missing or cannot be right.
    """
    try:
        plugin.name = plugin.name  # type: ignore[misc]  # frozen is what is checked
    except FrozenInstanceError:
        pass
    else:
        raise PluginError(f"plugin {plugin.name!r} is not frozen")
    _check_paper(plugin.name, plugin.paper)
    if not plugin.licence.strip():
        raise PluginError(f"plugin {plugin.name!r} names no licence")
    if isinstance(plugin, Checkpoint) and not plugin.source.strip():
        raise PluginError(f"checkpoint {plugin.name!r} does not say where its weights are")
    if isinstance(plugin, Method) and not (plugin.variants or plugin.prefix):
        raise PluginError(f"method {plugin.name!r} has neither variants nor a prefix")


def check_names(plugin: Plugin) -> None:
    """Names are letters, digits and underscores: they become folders, metric labels and URLs.

    Raises:
        PluginError: a name is not.
    """
    names = [plugin.name, *(plugin.variants if isinstance(plugin, Method) else ())]
    for name in names:
        if not NAME.fullmatch(name):
            raise PluginError(f"a plugin is named with {NAME.pattern}, not {name!r}")


def check_import(plugin: Plugin) -> None:
    """Importing the plugin's module imports no torch, so that a server can read the record.

    Raises:
        PluginError: it does.
    """
    functions = [function for function in _functions(plugin) if function]
    for module in {getattr(function, "__module__", None) or __name__ for function in functions}:
        if found := _heavy_imports(module):
            raise PluginError(f"importing {module!r} of plugin {plugin.name!r} imports {found}")


def _functions(plugin: Plugin) -> tuple[Callable[..., object] | None, ...]:
    match plugin:
        case Retriever():
            return plugin.answer, plugin.apply, plugin.plan, plugin.fit, plugin.figures
        case Diagnostic():
            return (plugin.measure,)
        case Method():
            return plugin.build, plugin.convert
        case Checkpoint():
            return (plugin.convert,)


def check_export(name: str, plugin: Plugin, others: Iterable[Plugin]) -> None:
    """Untrained weights become model folders whose outputs agree and keep their promises.

    Raises:
        PluginError: it cannot be built, or made a graph.
        VerificationError: an output disagrees, or is not what its meaning promises.
        ArtefactError: the folder cannot be read back.
    """
    methods = [other for other in others if isinstance(other, Method)]
    registry = Registry.of(("conformance", each) for each in (plugin, *methods))
    with TemporaryDirectory() as folder:
        repository = Path(folder, "models")
        cards = export(name, repository=repository, untrained=True, registry=registry)
        for card in cards:
            text = (repository / card.name / CONFIG_FILE).read_text("utf-8")
            if card_from(from_pbtxt(text)) != card:
                raise PluginError(f"{name!r} is read back as another card")


def _check_paper(name: str, paper: Paper) -> None:
    if not (paper.title.strip() and paper.authors.strip()):
        raise PluginError(f"plugin {name!r} cites no title or authors")
    if not paper.url.startswith(("https://", "http://")):
        raise PluginError(f"plugin {name!r} cites no URL but {paper.url!r}")
    if paper.year < _EARLIEST_YEAR:
        raise PluginError(f"plugin {name!r} was not published in {paper.year}")


@cache
def _heavy_imports(module: str) -> str:
    """What a fresh interpreter that imports the module has imported with it, of the heavy ones.

    Raises:
        PluginError: the module cannot be imported.
    """
    code = f"import sys, {module}; print(*(set({_HEAVY!r}) & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise PluginError(f"importing {module!r} fails: {reason}")
    return done.stdout.strip()
