"""Each figure against its own definition, taken the long way or known beforehand."""

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Sample, settle
from kokeshi_plugins.diagnostics import (
    class_geometry,
    drift,
    hubness,
    intrinsic_dimension,
    label_audit,
    near_duplicates,
    prefixes,
    spaces,
    uniformity,
)
from kokeshi_plugins.diagnostics import neighbours as neighbours_module
from kokeshi_plugins.diagnostics.neighbours import nearest
from kokeshi_plugins.diagnostics.sampling import unit


def measured(module, sample, **given):
    return module.PLUGIN.measure(sample, settle(module.PLUGIN, given))


def normal(rows, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def all_distances(one, other):
    gaps = one[:, None].astype(np.float64) - other[None].astype(np.float64)
    return np.sqrt(np.square(gaps).sum(axis=2))


# neighbours


def test_neighbours_are_those_of_all_distances(monkeypatch):
    monkeypatch.setattr(neighbours_module, "BLOCK_BYTES", 4 * 300 * 7)  # blocks of seven
    base, queries = normal(300, 12), normal(40, 12, seed=1)
    distances, rows = nearest(queries, base, 5)
    wanted = all_distances(queries, base)
    np.testing.assert_array_equal(rows, np.argsort(wanted, axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :5], rtol=1e-12)


def test_neighbours_far_from_the_origin_and_close_to_each_other_keep_their_order():
    base = normal(200, 4) * np.float32(1e-3) + np.float32(100)
    distances, rows = nearest(base, base, 3, own=np.arange(200))
    wanted = all_distances(base, base) + np.diag(np.full(200, np.inf))
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :3], rtol=1e-9)
    assert (rows != np.arange(200)[:, None]).all()


def test_an_item_is_not_its_own_neighbour_but_its_copy_is():
    base = np.concatenate([normal(20, 3), normal(1, 3, seed=9), normal(1, 3, seed=9)])
    distances, rows = nearest(base, base, 2, own=np.arange(22))
    assert rows[20, 0] == 21
    assert rows[21, 0] == 20
    assert distances[20, 0] == 0


# intrinsic dimension


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_a_curved_sheet_has_its_own_dimension_not_the_spaces(dimension):
    flat = normal(1_000, dimension, seed=dimension)
    bent = np.tanh(flat @ normal(dimension, 40, seed=7) / 2)
    found = measured(intrinsic_dimension, Sample(vectors=bent.astype(np.float32)))
    assert found.figures["two_nn_dimension"] == pytest.approx(dimension, rel=0.15)
    assert found.figures["mle_dimension"] == pytest.approx(dimension, rel=0.15)


def test_the_prefix_suggested_is_the_shortest_that_keeps_a_sheet_apart():
    vectors = np.zeros((500, 64), np.float32)
    vectors[:, ::8] = normal(500, 2) @ normal(2, 8, seed=1)
    sample = Sample(vectors=vectors, dimensions=(4, 8, 16, 64))
    found = measured(intrinsic_dimension, sample)
    assert found.figures["suggested_prefix_dimensions"] == 8  # the first of at least 2 x 2 + 1


def test_no_prefix_is_promised_where_none_is_long_enough():
    found = measured(intrinsic_dimension, Sample(vectors=normal(500, 8), dimensions=(4, 8)))
    assert found.figures["suggested_prefix_dimensions"] == 8
    assert "no trained length reaches" in found.advice[-1]


def test_copies_do_not_touch_the_dimension():
    vectors = normal(400, 3)
    alone = measured(intrinsic_dimension, Sample(vectors=np.unique(vectors, axis=0)))
    twice = measured(intrinsic_dimension, Sample(vectors=np.repeat(vectors, 2, axis=0)))
    assert twice.figures["copies"] == 400
    assert twice.figures["mle_dimension"] == alone.figures["mle_dimension"]


def test_a_thousand_copies_of_few_items_have_no_dimension():
    with pytest.raises(InvalidRequestError, match="different items, got 3"):
        measured(intrinsic_dimension, Sample(vectors=np.repeat(normal(3, 4), 400, axis=0)))


# uniformity


def test_uniformity_is_the_mean_over_all_pairs():
    vectors = unit(normal(60, 5) + 1)
    upper = all_distances(vectors, vectors)[np.triu_indices(60, 1)]
    found = measured(uniformity, Sample(vectors=vectors))
    wanted = np.log(np.exp(-2 * upper**2).mean())
    assert found.figures["uniformity_nats"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("dim", [2, 3, 64, 2048])
def test_the_best_uniformity_is_that_of_the_whole_sphere(dim):
    # the cosine of two random directions has density (1 - u^2)^((dim - 3) / 2)
    angles = (np.arange(200_000) + 0.5) * np.pi / 200_000
    weights = np.exp((dim - 2) * np.log(np.sin(angles)))
    mean = (weights * np.exp(4 * np.cos(angles) - 4)).sum() / weights.sum()
    assert uniformity.best_uniformity(dim) == pytest.approx(np.log(mean), abs=1e-6)


def test_items_all_over_the_sphere_come_near_the_best():
    found = measured(uniformity, Sample(vectors=normal(3_000, 16)))
    low, high = found.intervals["uniformity_nats"]
    assert low < found.figures["best_uniformity_nats"] < high + 0.01


def test_tolerance_and_alignment_are_means_over_pairs_of_one_label():
    vectors = unit(normal(40, 6))
    labels = tuple("abc"[row % 3] if row % 7 else "" for row in range(40))
    pairs = [(i, j) for i in range(40) for j in range(i) if labels[i] and labels[i] == labels[j]]
    cosines = np.array([float(vectors[i].astype(float) @ vectors[j]) for i, j in pairs])
    labelled = sum(bool(label) for label in labels)
    found = measured(uniformity, Sample(vectors=vectors, labels=labels)).figures
    assert found["tolerance_cosine"] == pytest.approx(cosines.mean(), abs=1e-7)
    joint = cosines.sum() / (labelled * (labelled - 1) / 2)
    assert found["tolerance_joint"] == pytest.approx(joint, abs=1e-7)
    apart = np.mean([np.square(vectors[i] - vectors[j]).sum() for i, j in pairs])
    assert found["alignment_squared_distance"] == pytest.approx(apart, abs=1e-6)


# class geometry


def test_a_simplex_is_collapsed_in_every_figure():
    corners = np.eye(6) - 1 / 6
    codes = np.arange(300) % 6
    noise = 1e-4 * normal(300, 6)
    sample = Sample(
        vectors=(corners[codes] + noise).astype(np.float32), labels=tuple(map(str, codes))
    )
    found = measured(class_geometry, sample).figures
    assert found["nc1_variability"] < 1e-6
    assert found["nc1_cdnv"] < 1e-6
    assert found["nc2_norm_variation"] < 1e-3
    assert found["nc2_etf_deviation"] < 1e-3
    assert found["nc2_angle_degrees"] == pytest.approx(found["nc2_etf_angle_degrees"], abs=0.01)
    assert found["nc3_distance"] < 1e-2
    assert found["nc3_cosine"] > 0.999
    assert found["nc4_agreement"] == found["nearest_centre_accuracy"] == 1


def test_nc1_is_the_trace_with_the_pseudo_inverse():
    vectors, codes = normal(90, 7), np.arange(90) % 4
    means = np.stack([vectors[codes == code].mean(axis=0, dtype=np.float64) for code in range(4)])
    within = np.cov((vectors - means[codes]).T.astype(np.float64), bias=True)
    centred = means - means.mean(axis=0)
    between = centred.T @ centred / 4
    wanted = np.trace(within @ np.linalg.pinv(between)) / 4
    found = class_geometry.variability(class_geometry.classes_of(vectors, codes))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_two_labels_that_lie_together_are_named():
    codes = np.arange(300) % 4
    centres = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0.5, 9]])
    names = np.array(["cat", "car", "dog", "wolf"])
    sample = Sample(
        vectors=(centres[codes] + normal(300, 3)).astype(np.float32), labels=tuple(names[codes])
    )
    assert "'dog' and 'wolf'" in measured(class_geometry, sample).advice[-1]


def test_labels_with_too_few_items_are_left_out_and_said():
    labels = tuple(f"label {row % 4}" if row > 2 else "rare" for row in range(200))
    found = measured(class_geometry, Sample(vectors=normal(200, 5), labels=labels))
    assert found.figures["classes"] == 4
    assert "4 of 5 labels were read" in found.advice[0]


# label audit


def test_labels_that_were_swapped_are_flagged_with_the_right_one():
    codes = np.arange(600) % 5
    vectors = 6 * normal(5, 16, seed=3)[codes] + normal(600, 16)
    given = codes.copy()
    given[:20] = (codes[:20] + 2) % 5
    sample = Sample(vectors=vectors, labels=tuple(map(str, given)))
    found = measured(label_audit, sample)
    assert set(found.flagged) == {f"row {row}" for row in range(20)}
    assert all(
        f"neighbours say '{codes[int(name[4:])]}'" in why for name, why in found.flagged.items()
    )
    assert 20 / 600 <= found.figures["label_error_share"] < 30 / 600


def test_a_plot_of_flagged_items_names_their_labels():
    codes = np.arange(600) % 5
    vectors = 6 * normal(5, 16, seed=3)[codes] + normal(600, 16)
    given = np.array(["ant", "bee", "cow", "dog", "eel"])[codes]
    given[:20], given[20:26] = "bee", "eel"
    (curve,) = measured(label_audit, Sample(vectors=vectors, labels=tuple(given))).curves
    assert curve.names == ("bee", "eel")
    np.testing.assert_array_equal(curve.x, [1, 2])
    assert curve.y[0] > curve.y[1] > 0


def test_of_many_labels_with_flagged_items_the_worst_are_drawn():
    names = [f"label {n}" for n in range(40)]
    given = np.repeat(np.arange(40), 10)
    wrong = np.arange(400) % 10 <= given // 10  # one to four of each ten
    found = label_audit.Audit(np.eye(40) / 40, wrong, given, np.zeros(400))
    (curve,) = label_audit._curves(found, given, names)
    assert curve.names == tuple(names[30:] + names[20:30] + names[10:20])
    assert curve.x_label == "label (the first 30 of 40)"
    np.testing.assert_array_equal(curve.y, np.repeat([0.4, 0.3, 0.2], 10))


def test_labels_that_nothing_contradicts_have_no_plot_and_an_interval_of_what_was_seen():
    codes = np.arange(600) % 3
    vectors = 20 * np.eye(3, 16, dtype=np.float32)[codes] + normal(600, 16)
    found = measured(label_audit, Sample(vectors=vectors, labels=tuple(map(str, codes))))
    assert not found.curves
    assert found.figures["label_error_share"] == 0
    low, high = found.intervals["label_error_share"]
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 600))


def test_an_item_does_not_vote_for_itself():
    # two items far from all, one of each label: only its own vote could keep either
    vectors = np.concatenate([normal(60, 4), 50 + 0.1 * normal(2, 4, seed=2)])
    labels = ("a",) * 30 + ("b",) * 30 + ("a", "b")
    votes = label_audit.vote(
        nearest(vectors, vectors, 1, own=np.arange(62))[1],
        np.array([*"a" * 30, *"b" * 30, "a", "b"]) == "b",
        2,
    )
    assert votes[60].tolist() == [0, 1]
    assert votes[61].tolist() == [1, 0]
    assert len(labels) == 62


def test_whole_numbers_keep_the_sum_of_each_row():
    counts = np.array([[2.6, 0.2, 0.2], [0.5, 0.5, 4.0], [1.0, 2.0, 3.0]])
    found = label_audit.whole_numbers(counts)
    np.testing.assert_array_equal(found.sum(axis=1), [3, 5, 6])
    assert (np.abs(found - counts) < 1).all()
    assert found[0].tolist() == [3, 0, 0]


def test_a_label_that_no_item_is_sure_of_accuses_nobody():
    counts = np.array([[5.0, 0.0], [0.0, 0.0]])
    joint = label_audit.calibrated(counts, np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(joint, [[0.5, 0], [0, 0.5]])


# near-duplicates


def brute_pairs(vectors, cosine):
    exact = unit(vectors).astype(np.float64)
    cosines = exact @ exact.T
    return {(i, j) for i, j in zip(*np.nonzero(np.triu(cosines >= cosine, 1)), strict=True)}


@pytest.mark.parametrize("dim", [3, 64, 65, 200])
@pytest.mark.parametrize("cosine", [0.5, 0.9, 0.999])
def test_no_pair_above_the_cosine_is_missed_or_made_up(monkeypatch, dim, cosine):
    monkeypatch.setattr(near_duplicates, "TILE_ROWS", 50)
    random = np.random.default_rng(dim)
    centres = random.standard_normal((40, dim))
    steps = random.random((220, 1)) ** 3
    rows = centres[random.integers(40, size=220)] + steps * random.standard_normal((220, dim))
    vectors = unit(rows.astype(np.float32))
    found = {
        pair
        for first, second, _ in near_duplicates.pairs_above(vectors, vectors, cosine, triangle=True)
        for pair in zip(first, second, strict=True)
    }
    assert found == brute_pairs(vectors, cosine)
    assert found


def test_chains_of_near_duplicates_are_one_group():
    angles = np.radians([0, 5, 10, 90, 180, 184])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = measured(near_duplicates, Sample(vectors=vectors), cosine=0.995)  # 5.7 degrees
    assert found.figures["pairs"] == 3
    assert found.figures["groups"] == 2
    assert found.figures["redundant_items"] == 3
    assert found.figures["duplicated_share"] == pytest.approx(5 / 6)
    assert list(found.flagged) == ["row 5", "row 1", "row 2"]


def test_the_search_ends_at_its_limit_and_says_that_there_are_more():
    found = measured(near_duplicates, Sample(vectors=np.ones((200, 4), np.float32)), most_pairs=100)
    assert "lower bounds" in found.advice[0]


def test_a_drawn_share_of_duplicates_is_inside_its_interval():
    vectors = normal(4_000, 16)
    vectors[:800] = vectors[800:1600]  # 40 %
    found = measured(near_duplicates, Sample(vectors=vectors), most_items=1_500, cosine=0.9999)
    low, high = found.intervals["duplicated_share"]
    assert found.figures["items_read"] == 281
    assert low < 0.4 < high
    assert high - low < 0.2


def test_a_drawn_search_that_ended_early_promises_no_upper_bound():
    sample = Sample(vectors=np.ones((300, 4), np.float32))
    found = measured(near_duplicates, sample, most_items=100, most_pairs=20)
    assert found.intervals["duplicated_share"][1] == 1
    assert "lower bounds" in found.advice[-1]


def test_a_cosine_that_is_none_is_refused():
    with pytest.raises(InvalidRequestError, match=r"'cosine' .* is from 0.01 to 1, got 1.5"):
        measured(near_duplicates, Sample(vectors=normal(9, 3)), cosine=1.5)


# hubness


def test_every_list_of_neighbours_is_counted_once():
    found = measured(hubness, Sample(vectors=normal(300, 40)), neighbours=7)
    curve = found.curves[0]
    assert (curve.x * curve.y).sum() == 300 * 7
    assert found.figures["hubness_skewness"] > 0.5  # forty dimensions have hubs


def test_one_item_in_the_middle_of_a_sphere_is_the_hub():
    vectors = np.concatenate([unit(normal(200, 50)), np.zeros((1, 50), np.float32)])
    ids = tuple(f"id{row}" for row in range(201))
    found = measured(hubness, Sample(vectors=vectors, ids=ids))
    assert next(iter(found.flagged.items())) == ("id200", "among the 10 nearest of 200 items")


def test_hubs_of_queries_are_counted_over_queries():
    vectors = normal(200, 3)
    queries = vectors[:1] + 1e-3 * normal(30, 3, seed=5)
    found = measured(hubness, Sample(vectors=vectors, queries=queries))
    assert found.figures["query_antihub_share"] > 0.9
    assert found.figures["antihub_share"] < 0.1


# drift


def test_false_alarms_are_as_rare_as_stated():
    alarms = 0
    for seed in range(300):
        drawn = normal(60, 3, seed)
        sample = Sample(vectors=drawn[:35], queries=drawn[35:], seed=seed)
        found = measured(drift, sample, false_alarm_rate=0.1, permutations=99)
        alarms += found.figures["drifted"] == 1
    assert alarms <= 46  # 30 are expected at most: one run in a thousand has more than 46
    assert alarms >= 8  # two tests at half the rate each, alike: it is no dead alarm


def test_a_shift_of_one_dimension_is_found_and_named():
    queries = normal(200, 20, seed=1)
    queries[:, 13] += 1
    found = measured(drift, Sample(vectors=normal(400, 20), queries=queries))
    assert found.figures["drifted"] == 1
    assert found.figures["shifted_dimensions"] == 1
    assert "dimension 13 moved most" in found.advice[-1]
    # the pooled deviation holds the shift itself
    assert found.figures["largest_mean_shift"] == pytest.approx(1 / np.sqrt(1 + 2 / 9), abs=0.2)


def test_a_change_of_shape_is_found_where_no_mean_moves():
    queries = 2 * normal(300, 5, seed=1)
    found = measured(drift, Sample(vectors=normal(300, 5), queries=queries))
    assert found.figures["drifted"] == 1
    assert found.figures["shifted_dimensions"] == 0
    assert found.figures["mmd_squared"] > found.figures["mmd_squared_threshold"]


def test_mmd_is_the_mean_over_different_pairs():
    kernel = np.exp(-all_distances(normal(9, 2), normal(9, 2)))
    lines = drift.shuffles(5, 4, 6, np.random.default_rng(0))
    for line, found in zip(lines, drift.mmd_squared(kernel, lines), strict=True):
        one, other = np.flatnonzero(line), np.flatnonzero(line == 0)
        same = [
            np.mean([kernel[i, j] for i in rows for j in rows if i != j]) for rows in (one, other)
        ]
        assert found == pytest.approx(sum(same) - 2 * kernel[np.ix_(one, other)].mean())


# prefixes


def test_self_recall_and_depth_are_those_of_all_distances():
    vectors = unit(normal(150, 24) * np.arange(1, 25) ** -0.5)
    sample = Sample(vectors=vectors, dimensions=(6, 12, 24))
    found = measured(prefixes, sample, neighbours=5).figures
    orders = {}
    for length in (6, 12, 24):
        prefix = unit(vectors[:, :length])
        apart = all_distances(prefix, prefix) + np.diag(np.full(150, np.inf))
        orders[length] = np.argsort(apart, axis=1)
    wanted = orders[24][:, :5]
    for length, order in orders.items():
        recall = np.mean(
            [np.isin(row[:5], true).mean() for row, true in zip(order, wanted, strict=True)]
        )
        assert found[f"self_recall_at_5_of_{length}"] == pytest.approx(recall)
        depth = int(found[f"depth_of_{length}"])
        held = [
            np.mean(
                [np.isin(true, row[:size]).mean() for row, true in zip(order, wanted, strict=True)]
            )
            for size in (depth - 1, depth)
        ]
        assert held[1] >= 0.98
        assert depth == 5 or held[0] < 0.98
    shares = np.square(vectors[:, :6]).sum(axis=1)
    assert found["energy_share_of_6"] == pytest.approx(shares.mean(), rel=1e-5)


def test_the_full_length_recalls_itself():
    found = measured(prefixes, Sample(vectors=normal(80, 4), dimensions=(2, 4)))
    assert found.figures["self_recall_at_10_of_4"] == 1
    assert found.figures["depth_of_4"] == 10


def test_vectors_that_are_not_unit_are_cut_and_not_scaled():
    vectors = np.zeros((50, 4), np.float32)
    vectors[:, 0] = np.arange(50)
    vectors[:, 2] = 1e-3 * normal(50, 1)[:, 0]
    found = measured(prefixes, Sample(vectors=vectors, dimensions=(2, 4)), neighbours=2)
    assert found.figures["self_recall_at_2_of_2"] > 0.9  # scaled, all prefixes would be one point


# spaces


def test_a_rotated_and_scaled_space_is_the_same_space():
    vectors = normal(200, 10)
    turned, _ = np.linalg.qr(normal(10, 10, seed=1))
    sample = Sample(vectors=vectors, counterpart=(3 * vectors @ turned).astype(np.float32))
    found = measured(spaces, sample)
    for name in (*spaces._FIGURES, "neighbour_overlap_at_10"):
        assert found.figures[name] == pytest.approx(1, abs=1e-3), name
    assert not found.flagged


def test_unrelated_spaces_share_neighbours_by_chance_alone():
    found = measured(spaces, Sample(vectors=normal(400, 30), counterpart=normal(400, 50, seed=1)))
    low, high = found.intervals["cka_debiased"]
    assert low < 0 < high
    assert found.figures["cka_linear"] > 0.05  # why there is a debiased one
    overlap = found.intervals["neighbour_overlap_at_10"]
    assert overlap[0] < found.figures["chance_overlap"] < overlap[1]


def test_the_items_that_moved_are_the_ones_flagged():
    vectors = normal(300, 4)
    other = vectors.copy()
    other[:5] += 20 * normal(5, 4, seed=1)
    ids = tuple(f"id{row}" for row in range(300))
    found = measured(spaces, Sample(vectors=vectors, counterpart=other, ids=ids))
    assert set(list(found.flagged)[:5]) == {f"id{row}" for row in range(5)}


def test_the_overlap_without_some_items_is_that_of_the_rest():
    one, other = normal(120, 3), normal(120, 3) + 0.5 * normal(120, 3, seed=1)
    every, kept = np.arange(120), np.delete(np.arange(120), np.arange(0, 120, 10))
    deep = [nearest(rows, rows, 20, own=every)[1] for rows in (one, other)]
    own = np.arange(len(kept))
    again = [nearest(rows[kept], rows[kept], 5, own=own)[1] for rows in (one, other)]
    np.testing.assert_allclose(
        spaces.overlaps(*deep, 5, kept).mean(), spaces.overlaps(*again, 5, own).mean()
    )
