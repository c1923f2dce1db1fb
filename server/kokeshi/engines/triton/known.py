"""What all addresses serve together, as one immutable picture."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kokeshi.engines.protocol import ModelStatus, State
from kokeshi.engines.triton.peer import Peer
from kokeshi.engines.triton.served import Key, Served, require_parts, untrained
from kokeshi.engines.triton.watch import Seen, Watch
from kokeshi.errors import ArtefactError, ModelNotFoundError, UnavailableError

UNTRAINED: Final = "untrained weights are for tests; --allow-untrained serves them"
# Of several addresses where none answers, the state that says most.
_TELLING: Final = (State.LOADING, State.FAILED, State.ABSENT)


@dataclass(frozen=True)
class Model:
    """One version, with the peers that answer for it."""

    status: ModelStatus
    served: Served | None = None
    peers: Sequence[Peer] = ()
    failing: Sequence[Peer] = ()  # that could be asked, and failed


@dataclass(frozen=True)
class Known:
    """Every version, by name and version."""

    models: Mapping[Key, Model] = field(default_factory=dict)
    newest: Mapping[str, int] = field(default_factory=dict)  # of those that answer

    def find(self, name: str, version: int = 0) -> Model:
        """A version that answers, or that is worth a trial; 0 is the newest.

        Raises:
            ModelNotFoundError: no such model or version.
            UnavailableError: it does not answer.
        """
        model = self.models.get((name, version or self.newest.get(name, 0)))
        if model is None:
            model = self._dead(name, version)
        return model if model.status.answers else self._on_trial(model)

    def _dead(self, name: str, version: int) -> Model:
        if version == 0:
            versions = [known for model, known in self.models if model == name]
            if versions:
                return self.models[name, max(versions)]
        which = f"model named {name!r}" + (f" with version {version}" if version else "")
        raise ModelNotFoundError(f"no {which}")

    def _on_trial(self, model: Model) -> Model:
        status, served = model.status, model.served
        for peer in model.failing:
            if served is not None and (peer.hesitates or peer.health[served.key].trial()):
                return Model(status, served, (peer,))
        why = f": {status.reason}" if status.reason else ""
        raise UnavailableError(f"model {status.name!r} is {status.state}{why}")


def together(
    watches: Sequence[Watch], fallen: Mapping[str, str], *, allow_untrained: bool
) -> Known:
    """The picture of what every address says.

    Args:
        watches: of all addresses.
        fallen: models that are known not to answer, whatever their server says, with the reason.
        allow_untrained: whether random weights are served.
    """
    judge = _Judge(watches, fallen, allow_untrained=allow_untrained)
    models = {key: judge.model(key) for key in sorted(_keys(watches))}
    answering = [key for key, model in models.items() if model.status.answers]
    return Known(models, dict(sorted(answering)))


def _keys(watches: Sequence[Watch]) -> Iterator[Key]:
    """Every version that is or was meant to answer; of a model with none, version 0."""
    seen = [entry for watch in watches for entry in watch.seen.items()]
    alive = {key for key, state in seen if state.state is not State.ABSENT}
    yield from alive
    yield from {(name, 0) for (name, _), _ in seen} - {(name, 0) for name, _ in alive}


class _Judge:
    """Says of each version how it stands."""

    def __init__(
        self, watches: Sequence[Watch], fallen: Mapping[str, str], *, allow_untrained: bool
    ) -> None:
        self._watches = watches
        self._fallen = fallen
        self._allow_untrained = allow_untrained

    def model(self, key: Key) -> Model:
        seen = [(watch.peer, self._seen(watch, key)) for watch in self._watches]
        served = next((it.served for _, it in seen if it.served is not None), None)
        seen = [(peer, _agreeing(it, served)) for peer, it in seen]
        good = tuple(peer for peer, it in seen if it.state is State.READY)
        failing = tuple(peer for peer, it in seen if it.served is not None and _there(peer))
        status = ModelStatus(*key, *_state(seen), card=served.card if served else None)
        return Model(status, served, good, () if good or self._refused(key, served) else failing)

    def _seen(self, watch: Watch, key: Key) -> Seen:
        """How one address stands to a version, all told."""
        seen = watch.seen.get(key) or _absent(watch.seen, key[0])
        if reason := self._reason(watch, key, seen):
            return Seen(State.FAILED, reason, seen.served)
        return seen

    def _reason(self, watch: Watch, key: Key, seen: Seen) -> str:
        # what is known of its process says more than that nobody answers
        if seen.state is not State.LOADING and key[0] in self._fallen:
            return self._fallen[key[0]]
        if watch.peer.down:
            return watch.peer.down
        if seen.state is not State.READY or seen.served is None:
            return ""
        try:
            require_parts(seen.served, watch.seen)
        except ArtefactError as error:
            return str(error)
        return self._refused(key, seen.served) or watch.peer.health[key].failed

    def _refused(self, key: Key, served: Served | None) -> str:
        """Why it is not to be asked at all."""
        if served is not None and untrained(served) and not self._allow_untrained:
            return UNTRAINED
        return self._fallen.get(key[0], "")


def _absent(seen: Mapping[Key, Seen], name: str) -> Seen:
    """What an address says of a version that it does not have: the word on the model, if any."""
    said = [it for (model, _), it in seen.items() if model == name and it.state is State.ABSENT]
    return said[0] if said else Seen(State.ABSENT, "it is not there")


def _there(peer: Peer) -> bool:
    return peer.hesitates or not peer.down


def _agreeing(seen: Seen, served: Served | None) -> Seen:
    if seen.state is State.READY and seen.served and served and seen.served.same != served.same:
        return Seen(State.FAILED, "it has another model under this name and version")
    return seen


def _state(seen: Sequence[tuple[Peer, Seen]]) -> tuple[State, str]:
    """State and reason of a version at several addresses."""
    bad = [(peer.address, it) for peer, it in seen if it.state is not State.READY]
    if not bad:
        return State.READY, ""
    if len(bad) < len(seen):
        told = "; ".join(f"{address}: {it.reason}" for address, it in bad)
        return State.DEGRADED, f"{len(bad)} of {len(seen)} addresses do not answer it: {told}"
    _, worst = min(bad, key=lambda one: _TELLING.index(one[1].state))
    return worst.state, worst.reason


def changes(before: Known, after: Known) -> Iterable[tuple[ModelStatus, bool]]:
    """The statuses that are new or other than before, and whether each is only gone."""
    for key, model in after.models.items():
        old = before.models.get(key)
        if old is None or (old.status.state, old.status.reason) != (
            model.status.state,
            model.status.reason,
        ):
            yield model.status, False
    for key, model in before.models.items():
        if key not in after.models:
            yield model.status, True
