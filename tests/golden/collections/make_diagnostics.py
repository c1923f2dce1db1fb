"""Writes diagnostics.json: figures of libraries that Kokeshi's diagnostics are held against.

PYTHONPATH=tests/golden python tests/golden/collections/make_diagnostics.py CHECKOUT
CHECKOUT: a clone of https://github.com/rhubarbwu/neural-collapse at the commit below (needs torch).
Beside it, in an environment of their own: scikit-dimension 0.5.0, cleanlab 2.9.0, rsatoolbox 0.3.2,
dcor 0.7, torchmetrics 1.9.0, scikit-learn, and scikit-hubness 0.21.2 without its dependencies.
"""

import json
import sys
from importlib import import_module
from importlib.metadata import distribution, version
from pathlib import Path
from types import ModuleType

import numpy as np
from diagnostic_samples import COMPARED, NEIGHBOURS, SEED, digits

COMMIT = "c05a0b80d6bc6e8e2e102f2180f1f33b2c9605fd"
LIBRARIES = (
    "scikit-dimension",
    "cleanlab",
    "rsatoolbox",
    "dcor",
    "torchmetrics",
    "scikit-hubness",
    "scikit-learn",
    "scipy",
    "numpy",
)


def intrinsic_dimension(vectors):
    from skdim.id import MLE, TwoNN

    exact = vectors.astype(np.float64)
    return {
        "two_nn": float(TwoNN(discard_fraction=0.1).fit(exact).dimension_),
        "mle_20": float(MLE().fit(exact, n_neighbors=20, comb="mle").dimension_),
    }


def neighbour_lists(vectors):
    from sklearn.neighbors import NearestNeighbors

    exact = vectors.astype(np.float64)
    search = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(exact)
    return search.kneighbors(return_distance=False)  # without queries: an item is not its own


def import_hubness():
    """Their formulas; the search beside them wants a scikit-learn of 2020 and is not called."""
    package = Path(distribution("scikit-hubness").locate_file("skhubness"))
    for name in ("skhubness", "skhubness.neighbors"):
        sys.modules[name] = ModuleType(name)
    sys.modules["skhubness"].__path__ = [str(package)]
    sys.modules["skhubness.neighbors"].NearestNeighbors = None
    sys.modules["skhubness.analysis"] = analysis = ModuleType("skhubness.analysis")
    analysis.__path__ = [str(package / "analysis")]
    return import_module("skhubness.analysis.estimation").Hubness


def hubness(neighbours):
    from scipy.stats import skew

    formulas = import_hubness()
    times = np.bincount(neighbours.ravel(), minlength=len(neighbours))
    return {
        "skewness": float(skew(times)),
        "robin_hood": float(formulas._calc_robinhood_index(times)),
        "antihub": float(formulas._calc_antihub_occurrence(times)[1]),
        "hub": float(formulas._calc_hub_occurrence(NEIGHBOURS, times, len(times))[1]),
        "most": int(times.max()),
    }


def label_audit(neighbours, labels):
    from cleanlab.count import compute_confident_joint, estimate_joint
    from cleanlab.filter import find_label_issues

    votes = np.stack([(labels[neighbours] == label).mean(axis=1) for label in range(10)], axis=1)
    issues = find_label_issues(labels, votes, filter_by="prune_by_noise_rate", n_jobs=1)
    return {
        "confident_joint": compute_confident_joint(labels, votes, calibrate=False).tolist(),
        "joint": estimate_joint(labels, votes).round(12).tolist(),
        "issues": np.flatnonzero(issues).tolist(),
    }


def spaces(one, other):
    import dcor
    from rsatoolbox.rdm import RDMs, compare
    from rsatoolbox.rdm.transform import geotopological_transform
    from scipy.spatial.distance import pdist

    one, other = one.astype(np.float64), other.astype(np.float64)
    first, second, *unbent = (RDMs(pdist(rows)[None]) for rows in (one, other, one, other))
    squared = [RDMs(pdist(rows, "sqeuclidean")[None]) for rows in (one, other)]
    bent = [geotopological_transform(rdms, 0.05, 0.95) for rdms in unbent]  # in place
    grams = [dcor.u_centered(pdist_square(rows)) for rows in (one, other)]
    norms = np.sqrt(dcor.u_product(*[grams[0]] * 2) * dcor.u_product(*[grams[1]] * 2))
    return {
        "rsa_pearson": float(compare(first, second, method="corr")[0, 0]),
        "geo_topological_pearson": float(compare(*bent, method="corr")[0, 0]),
        "cka_linear": float(compare(*squared, method="cosine_cov")[0, 0]),
        "cka_debiased": float(dcor.u_product(*grams) / norms),
    }


def pdist_square(rows):
    """Squared distances: centred, they are minus twice the Gram matrix."""
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(rows, "sqeuclidean"))


def drift(items, queries):
    import dcor
    import torch
    from sklearn.metrics.pairwise import rbf_kernel
    from torchmetrics.image.kid import maximum_mean_discrepancy

    items, queries = items.astype(np.float64), queries.astype(np.float64)
    pooled = np.concatenate([items, queries])
    upper = pdist_square(pooled)[np.triu_indices(len(pooled), 1)]
    kernel = torch.from_numpy(rbf_kernel(pooled, gamma=1 / np.median(upper)))
    count = len(items)  # the library's formula is for as many of either
    mmd = maximum_mean_discrepancy(
        kernel[:count, :count], kernel[:count, count:], kernel[count:, count:]
    )
    return {
        "mmd_squared": float(mmd),
        "energy_distance": float(dcor.energy_distance(items, queries)),
    }


def class_geometry(checkout, vectors, labels):
    sys.path.insert(0, checkout)
    import torch
    from neural_collapse.accumulate import CovarAccumulator, MeanAccumulator, VarNormAccumulator
    from neural_collapse.kernels import kernel_stats, log_kernel
    from neural_collapse.measure import (
        covariance_ratio,
        distance_norms,
        similarities,
        variability_cdnv,
    )

    rows, codes = torch.from_numpy(vectors).double(), torch.from_numpy(labels)
    shape = (10, rows.shape[1], "cpu", torch.float64)
    collector = MeanAccumulator(*shape)
    collector.accumulate(rows, codes)
    means, centre = collector.compute()
    norms, within = VarNormAccumulator(*shape, M=means), CovarAccumulator(*shape, M=means)
    norms.accumulate(rows, codes, means)
    within.accumulate(rows, codes, means)
    weights = means.roll(1, 0)  # any classifier will do for the formula
    centred = means - centre
    apart = distance_norms(weights / weights.norm(), centred / centred.norm(), norm=False)
    return {
        # their covariance is the mean of all items' products, by default of classes' means
        "nc1_variability": covariance_ratio(within.totals / len(rows), means, centre),
        "nc1_cdnv": variability_cdnv(norms.compute()[0], means),
        "nc2_log_distance": kernel_stats(means, centre, kernel=log_kernel)[0],
        "nc3_distance_of_rolled_means": float(apart.norm()),
        "nc3_cosine_of_rolled_means": float(similarities(weights, means, centre, cos=True).mean()),
    }


def main(checkout):
    data = digits()
    neighbours = neighbour_lists(data.vectors)
    figures = {
        "sample": {"seed": SEED, "sha256": data.sha256},
        "versions": {name: version(name) for name in LIBRARIES} | {"neural-collapse": COMMIT},
        "intrinsic_dimension": intrinsic_dimension(data.vectors),
        "hubness": hubness(neighbours),
        "label_audit": label_audit(neighbours, data.wrong_labels),
        "spaces": spaces(data.vectors[:COMPARED], data.others[:COMPARED]),
        "drift": drift(data.vectors[:200], data.vectors[200:400]),
        "class_geometry": class_geometry(checkout, data.vectors, data.labels),
    }
    Path(__file__).with_name("diagnostics.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
