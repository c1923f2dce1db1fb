import subprocess
import sys
from dataclasses import replace

import pytest

from kokeshi.catalogue import (
    CHECKPOINT_REQUIRED,
    NOT_SERVABLE,
    PLANNED,
    SERVED,
    TRANSFORM,
    entries,
    hub_id,
    is_file_url,
)
from kokeshi.errors import PluginError, SetupError
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Recipe
from kokeshi.registry import Registry, discover

PAPER = Paper("Dolls", "A", 2020, "https://example.org")


def build(options: Options) -> Recipe:
    raise NotImplementedError


DOLLS = Method("dolls", PAPER, "MIT", ("dolls_small", "dolls_large"), build)
LIBRARY = Method("library", PAPER, "MIT", (), build, prefix="lib")
TREES = Checkpoint("dolls_on_trees", PAPER, "dolls", "dolls_small", "the page", "MIT")
LENT = Checkpoint("lent", PAPER, "library", "anything", "org/name", "MIT")


def registry(*plugins, distribution="house"):
    return Registry.of((distribution, plugin) for plugin in plugins)


def test_a_name_is_a_variant_a_checkpoint_or_a_prefixed_name():
    found = registry(DOLLS, LIBRARY, TREES, LENT)
    assert found.resolve("dolls_large") == (DOLLS, "dolls_large", None)
    assert found.resolve("dolls_on_trees") == (DOLLS, "dolls_small", TREES)
    assert found.resolve("lib/net.tag") == (LIBRARY, "net.tag", None)
    assert found.resolve("lent") == (LIBRARY, "anything", LENT)
    assert found.names() == ["dolls_large", "dolls_on_trees", "dolls_small", "lent", "lib/"]
    assert found.distributions["dolls"] == "house"


@pytest.mark.parametrize("name", ["dolls_smal", "dols_small"])
def test_an_unknown_name_is_answered_with_near_ones(name):
    with pytest.raises(PluginError, match=f"'{name}'; did you mean .*'dolls_small'"):
        registry(DOLLS).resolve(name)
    assert issubclass(PluginError, SetupError)


@pytest.mark.parametrize("name", ["zzz", "lib/", "lib", "", "dolls"])
def test_a_name_like_no_other_is_only_refused(name):
    with pytest.raises(PluginError, match=f"is named '{name}'"):
        registry(DOLLS, LIBRARY).resolve(name)


@pytest.mark.parametrize(
    ("plugin", "name"),
    [
        (DOLLS, "dolls"),
        (replace(DOLLS, name="other", variants=("dolls_small",)), "dolls_small"),
        (replace(TREES, name="dolls_large"), "dolls_large"),
        (replace(LIBRARY, name="other"), "lib/"),
    ],
)
def test_a_name_offered_twice_names_both_distributions(plugin, name):
    pairs = [("house", DOLLS), ("house", LIBRARY), ("guest", plugin)]
    with pytest.raises(PluginError, match=f"'{name}' is offered twice.*'house' and 'guest'"):
        Registry.of(pairs)


def test_an_unknown_kind_names_its_distribution():
    with pytest.raises(PluginError, match="'house' offers a str, no known kind"):
        registry("dolls")


@pytest.mark.parametrize("changes", [{"method": "absent"}, {"variant": "dolls_huge"}])
def test_a_checkpoint_of_nothing_names_its_distribution(changes):
    with pytest.raises(
        PluginError, match=r"'house': checkpoint 'dolls_on_trees'.*no plugin offers"
    ):
        registry(DOLLS, replace(TREES, **changes))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with one plugin module, as a wheel would leave it."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, code):
        (tmp_path / f"{name}_module.py").write_text(code)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[kokeshi.plugins]\nit = {name}_module:PLUGINS\n")

    return make


RECORD = """
from kokeshi.plugin import Method, Paper
PAPER = Paper("Guests", "A", 2020, "https://example.org")
def build(options): ...
PLUGINS = Method("{name}", PAPER, "MIT", ("{name}_variant",), build)
"""


def test_an_installed_distribution_is_discovered(install):
    install("guest", RECORD.format(name="guest_method"))
    found = discover()
    assert found.resolve("guest_method_variant")[0].name == "guest_method"
    assert found.distributions["guest_method"] == "guest"


def test_a_plugin_that_cannot_be_imported_stops_everything_and_names_its_distribution(install):
    install("rotten", "import nothing_of_the_kind\n")
    with pytest.raises(PluginError, match="'rotten' is broken: ModuleNotFoundError"):
        discover()


def test_two_distributions_with_one_name_are_both_named(install):
    install("host", RECORD.format(name="wanted"))
    install("rival", RECORD.format(name="wanted"))
    with pytest.raises(PluginError, match="offered twice, by distributions 'host' and 'rival'"):
        discover()


def test_discovery_imports_no_torch():
    code = (
        "import sys; from kokeshi.registry import discover; from kokeshi.catalogue import entries\n"
        "found = discover(); entries([*found.methods.values(), *found.checkpoints.values()])\n"
        "print({'torch', 'timm', 'torchvision'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def states(*plugins):
    return {entry.number: entry for entry in entries(plugins)}


def test_the_catalogue_has_every_row_once_and_promises_nothing_by_itself():
    found = states()
    assert sorted(found) == list(range(1, 471))
    assert {entry.state for entry in found.values()} == {PLANNED, NOT_SERVABLE}
    reasons = [entry.reason for entry in found.values() if entry.state == NOT_SERVABLE]
    assert reasons
    assert all(reasons)


def test_a_row_is_in_the_state_that_its_plugins_give_it():
    of_kind = {entry.kind: entry.number for entry in entries(())}
    method, transform, excluded = (of_kind[kind] for kind in ("method", "transform", "excluded"))
    assert states(replace(DOLLS, rows=(method,)))[method].state == CHECKPOINT_REQUIRED
    assert states(replace(LIBRARY, rows=(method,)))[method].state == SERVED
    assert states(replace(TREES, rows=(method,)))[method].state == CHECKPOINT_REQUIRED
    assert states(replace(LENT, rows=(method,)))[method].state == SERVED
    both = states(replace(TREES, rows=(method,)), replace(LENT, rows=(method,)))[method]
    assert (both.state, both.names) == (SERVED, ("dolls_on_trees", "lent"))
    assert states(replace(DOLLS, rows=(transform,)))[transform].state == TRANSFORM
    assert states(replace(LENT, rows=(excluded,)))[excluded].reason == ""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("org/name", ("org/name", "model.safetensors")),
        ("org/name.tag:folder/w.bin", ("org/name.tag", "folder/w.bin")),
        ("https://example.org/w.pth", None),
        ("the page of org/name", None),
        ("../name", None),
    ],
)
def test_hub_ids_are_told_from_other_sources(source, expected):
    assert hub_id(source) == expected


def test_files_are_told_from_pages():
    assert is_file_url("https://example.org/a/w-0123.pth.tar")
    assert not is_file_url("https://example.org/a/page")
    assert not is_file_url("http://example.org/w.pth")
    assert not is_file_url("see https://example.org/w.pth")
