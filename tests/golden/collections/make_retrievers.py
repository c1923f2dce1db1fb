"""Writes retrievers.json: what the authors' own code of three retrievers answers.

PYTHONPATH=tests/golden python tests/golden/collections/make_retrievers.py HOPFIELD BT2 MRL
HOPFIELD, BT2, MRL: clones of ml-jku/hopfield-layers, YifeiZhou02/BT-2 and RAIVNLab/MRL at the
    commits below.

Inputs are small and stored with the answers. The backbone of BT^2 is replaced by given features;
everything after it is the authors' `forward`. Of MRL the function `rerank` of
retrieval/reranking.ipynb is run. hopfield-layers holds no energy: that is checked against the
paper's formula in the test.
"""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from keyed import keyed_value, write_golden
from torch import nn

COMMITS = {
    "ml-jku/hopfield-layers": "f56f929c95b77a070ae675ea4f56b6d54d36e730",
    "YifeiZhou02/BT-2": "8282360423887c61c172e6056c537ffe3843aeb6",
    "RAIVNLab/MRL": "7ccb42df6be05f3d21d0648aa03099bba46386bf",
}
SEED = 21


def drawn(name, *shape):
    return keyed_value(f"{name}.token", shape, SEED).double()


def hopfield(checkout):
    sys.path.insert(0, checkout)
    from hflayers import Hopfield

    stored, states = drawn("stored", 1, 12, 8), drawn("states", 1, 3, 8)
    raw: dict[str, bool] = {}
    for part in ("stored_pattern", "state_pattern", "pattern_projection"):
        raw |= {
            f"{part}_as_static": True,
            f"normalize_{part}": False,
            f"normalize_{part}_affine": False,
        }
    cases = []
    for beta, updates in ((0.5, 1), (4.0, 1), (4.0, 3), (32.0, 5)):
        layer = Hopfield(
            input_size=8,
            scaling=beta,
            update_steps_max=updates - 1,
            update_steps_eps=1e-300,  # never rests early, so that updates are counted alike
            disable_out_projection=True,
            **raw,
        )
        layer = layer.double().eval()
        with torch.inference_mode():
            patterns = layer((stored, states, stored))[0]
            weights = layer.get_association_matrix((stored, states, stored))[0, 0]
        cases.append(
            {
                "beta": beta,
                "updates": updates,
                "patterns": patterns.tolist(),
                "weights": weights.tolist(),
            }
        )
    return {"stored": stored[0].tolist(), "states": states[0].tolist(), "cases": cases}


class Given(nn.Module):
    """In the place of the backbone: features as they are."""

    def forward(self, features):
        return None, features


def bt2(checkout):
    sys.modules["cv2"] = ModuleType("cv2")  # imported for a function that is not used
    sys.modules["cv2"].add = None
    spec = spec_from_file_location("bt2_resnet", Path(checkout, "models", "resnet.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    cases = []
    for scale, added in ((2.0, 3), (3.0, 2)):
        torch.manual_seed(SEED)
        network = module.ResNet50_ortho(
            num_classes=4,
            embedding_dim=8,
            embedding_dim_old=8,
            norm_feature=True,
            to_add_dim=added,
            C=scale,
        )
        network.resnet = Given()
        network = network.double().eval()
        features = drawn("features", 5, 16, 1, 1)
        with torch.inference_mode():
            psi = network.fc3(torch.relu(features)).flatten(1)
            _, bct, _, whole = network(features)
        cases.append(
            {
                "scale": scale,
                "added": added,
                "psi": psi.tolist(),
                "phi": features.flatten(1)[:, :8].tolist(),
                "rotation": network.ortholinear_p.weight.tolist(),
                "old_rotation": network.ortholinear_old2.weight.tolist(),
                "bct": bct.tolist(),
                "whole": whole.tolist(),
            }
        )
    return cases


def mrl(checkout):
    notebook = json.loads(Path(checkout, "retrieval", "reranking.ipynb").read_text())
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    (code,) = [source for source in sources if source.startswith("def rerank(")]
    from sklearn.preprocessing import normalize

    # Falling energy, as a nested embedding has, so that short prefixes say something.
    energy = 0.85 ** np.arange(16)
    items = normalize(drawn("items", 40, 16).numpy() * energy)
    queries = normalize(drawn("queries", 4, 16).numpy() * energy)
    scope = {"np": np, "normalize": normalize, "db_rerank": items, "queries": queries}
    exec(code, scope)
    start, lengths, shortlist = 2, [4, 8, 16], [20, 10, 5]
    first = normalize(queries[:, :start]) @ normalize(items[:, :start]).T
    neighbours = np.argsort(-first, axis=1)[:, : shortlist[0]]
    found = scope["rerank"](True, lengths, shortlist, neighbours.copy())
    return {
        "items": np.round(items, 9).tolist(),
        "queries": np.round(queries, 9).tolist(),
        "start": start,
        "lengths": lengths,
        "shortlist": shortlist,
        "found": found.tolist(),
    }


def main() -> None:
    checkouts = sys.argv[1:]
    write_golden(
        "retrievers",
        {
            "reference": COMMITS,
            "seed": SEED,
            "hopfield": hopfield(checkouts[0]),
            "bt2": bt2(checkouts[1]),
            "mrl": mrl(checkouts[2]),
        },
    )


if __name__ == "__main__":
    main()
