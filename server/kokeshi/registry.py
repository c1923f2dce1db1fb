"""The plugins that are installed, found by their entry points; imports no torch.

A plugin that is broken, of an unknown kind, or named like another stops whoever asks: a method that
is silently missing is found out much later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Self

from kokeshi.errors import PluginError
from kokeshi.plugin import Checkpoint, Diagnostic, Method, Plugin, Retriever

GROUP: Final = "kokeshi.plugins"


@dataclass(frozen=True)
class Registry:
    """Plugins by kind and name, each with the distribution that brought it."""

    methods: Mapping[str, Method]
    checkpoints: Mapping[str, Checkpoint]
    retrievers: Mapping[str, Retriever] = field(default_factory=dict)
    diagnostics: Mapping[str, Diagnostic] = field(default_factory=dict)
    distributions: Mapping[str, str] = field(default_factory=dict)  # plugin name -> distribution

    @classmethod
    def of(cls, plugins: Iterable[tuple[str, object]]) -> Self:
        """A registry of (distribution, plugin) pairs.

        Raises:
            PluginError: an unknown kind, a name given twice, or a checkpoint of no method.
        """
        owners: dict[str, str] = {}
        found: list[Plugin] = []
        for distribution, plugin in plugins:
            if not isinstance(plugin, Plugin):
                kind = type(plugin).__name__
                raise PluginError(f"distribution {distribution!r} offers a {kind}, no known kind")
            for name in _claims(plugin):
                if name in owners:
                    both = f"distributions {owners[name]!r} and {distribution!r}"
                    raise PluginError(f"{name!r} is offered twice, by {both}")
                owners[name] = distribution
            found.append(plugin)
        registry = cls(
            methods={one.name: one for one in found if isinstance(one, Method)},
            checkpoints={one.name: one for one in found if isinstance(one, Checkpoint)},
            retrievers={one.name: one for one in found if isinstance(one, Retriever)},
            diagnostics={one.name: one for one in found if isinstance(one, Diagnostic)},
            distributions={one.name: owners[one.name] for one in found},
        )
        registry._check_checkpoints()
        return registry

    def resolve(self, name: str) -> tuple[Method, str, Checkpoint | None]:
        """The method, variant and named weights behind what a user typed.

        Args:
            name: a checkpoint, a variant of a method, or `prefix/name`.

        Raises:
            PluginError: nobody offers it; near matches are named.
        """
        if checkpoint := self.checkpoints.get(name):
            return self.methods[checkpoint.method], checkpoint.variant, checkpoint
        prefix, slash, rest = name.partition("/")
        for method in self.methods.values():
            if name in method.variants:
                return method, name, None
            if slash and rest and method.prefix == prefix:
                return method, rest, None
        near = get_close_matches(name, self.names())
        hint = f"; did you mean {', '.join(map(repr, near))}" if near else ""
        raise PluginError(f"no method or checkpoint is named {name!r}{hint}")

    def names(self) -> list[str]:
        """Everything that `resolve` takes, sorted; a prefix stands as `prefix/`."""
        variants = [name for method in self.methods.values() for name in method.variants]
        prefixes = [f"{method.prefix}/" for method in self.methods.values() if method.prefix]
        return sorted([*self.checkpoints, *variants, *prefixes])

    def _check_checkpoints(self) -> None:
        for checkpoint in self.checkpoints.values():
            method = self.methods.get(checkpoint.method)
            if method and (method.prefix or checkpoint.variant in method.variants):
                continue
            raise PluginError(
                f"distribution {self.distributions[checkpoint.name]!r}: checkpoint "
                f"{checkpoint.name!r} is of {checkpoint.variant!r} of {checkpoint.method!r}, "
                "which no plugin offers"
            )


def discover() -> Registry:
    """The registry of every installed distribution.

    Raises:
        PluginError: a plugin cannot be loaded, or as in `Registry.of`.
    """
    found = sorted(entry_points(group=GROUP), key=lambda entry: (_distribution(entry), entry.name))
    return Registry.of((_distribution(entry), plugin) for entry in found for plugin in _load(entry))


def _load(entry: EntryPoint) -> tuple[object, ...]:
    try:
        offered = entry.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(
            f"plugin {entry.name!r} of distribution {_distribution(entry)!r} is broken: {reason}"
        ) from error
    return offered if isinstance(offered, tuple) else (offered,)


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"


def _claims(plugin: Plugin) -> tuple[str, ...]:
    """The names that nobody else may offer. A method may be named like one of its variants."""
    if not isinstance(plugin, Method):
        return (plugin.name,)
    prefix = (f"{plugin.prefix}/",) if plugin.prefix else ()
    return tuple(dict.fromkeys((plugin.name, *plugin.variants, *prefix)))
