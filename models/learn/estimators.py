"""Turns a fitted scikit-learn or River estimator into the arrays of a learned support, by a list of exact classes.

Nothing of either library is imported here, and nothing is pickled: of a class in the list its fitted numbers are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.detect.support import HUGE, LEAF, MAX_QUANTILES, Arrays, arrays_of

SKLEARN = {
    "sklearn.preprocessing._data.StandardScaler": "sklearn.preprocessing.StandardScaler",
    "sklearn.preprocessing._data.MinMaxScaler": "sklearn.preprocessing.MinMaxScaler",
    "sklearn.preprocessing._data.RobustScaler": "sklearn.preprocessing.RobustScaler",
    "sklearn.preprocessing._data.MaxAbsScaler": "sklearn.preprocessing.MaxAbsScaler",
    "sklearn.preprocessing._data.QuantileTransformer": "sklearn.preprocessing.QuantileTransformer",
    "sklearn.linear_model._logistic.LogisticRegression": "sklearn.linear_model.LogisticRegression",
    "sklearn.tree._classes.DecisionTreeClassifier": "sklearn.tree.DecisionTreeClassifier",
    "sklearn.ensemble._forest.RandomForestClassifier": "sklearn.ensemble.RandomForestClassifier",
    "sklearn.ensemble._forest.ExtraTreesClassifier": "sklearn.ensemble.ExtraTreesClassifier",
    "sklearn.ensemble._gb.GradientBoostingClassifier": "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier":
        "sklearn.ensemble.HistGradientBoostingClassifier",
}  # fmt: skip
"""Classes by where they are defined, and as they are imported; scalers first."""
RIVER = {
    "river.preprocessing.scale.StandardScaler": "river.preprocessing.StandardScaler",
    "river.linear_model.log_reg.LogisticRegression": "river.linear_model.LogisticRegression",
    "river.tree.hoeffding_tree_classifier.HoeffdingTreeClassifier": "river.tree.HoeffdingTreeClassifier",
}
PIPELINES = {"sklearn.pipeline.Pipeline", "river.compose.pipeline.Pipeline"}
SCALERS = ("Scaler", "Transformer")

Steps = Sequence[Any]


class EstimatorError(ValueError):
    """An estimator cannot become a learned support; the message names its class and those that can."""


class NothingLearnt(EstimatorError):
    """An estimator could, but tells nothing of the data it was given."""


def class_of(model: Any) -> str:
    """Return where a model's class is defined, and its name."""
    return f"{type(model).__module__}.{type(model).__qualname__}"


def steps(model: Any) -> list[Any]:
    """Return the steps of a pipeline, or the estimator as the only one."""
    if class_of(model) not in PIPELINES:
        return [model]
    return list(model.steps.values()) if isinstance(model.steps, dict) else [step for _, step in model.steps]


def check_estimator(model: Any, library: str) -> None:
    """Check that a model, fitted or not, is one that can become arrays: a classifier, behind one scaler at most.

    Parameters
    ----------
    model
        Of `sklearn` or `river`.
    library
        Which of the two it has to be of.

    Raises
    ------
    EstimatorError
        Where it is anything else.
    """
    known = SKLEARN if library == "sklearn" else RIVER
    parts = steps(model)
    for part in parts:
        if class_of(part) not in known:
            raise EstimatorError(f"{class_of(part)} cannot become a learned support; these can: {_listed(known)}")
    scalers = [type(part).__name__.endswith(SCALERS) for part in parts]
    if scalers not in ([False], [True, False]):
        named = " | ".join(type(part).__name__ for part in parts)
        raise EstimatorError(f"{named} is not a classifier, or one scaler before one; use of: {_listed(known)}")
    for part in parts:
        for name, wanted in _WANTED.get(type(part).__name__, {}).items():
            found = getattr(part, name, wanted[0])
            if found not in wanted:
                usable = " or ".join(f"{name}={value!r}" for value in wanted)
                raise EstimatorError(f"{type(part).__name__}({name}={found!r}) cannot become arrays: use {usable}")
    loss = getattr(parts[-1], "loss", "")
    if library == "river" and loss != "" and type(loss).__name__ != "Log":
        raise EstimatorError(f"LogisticRegression(loss={type(loss).__name__}()) gives no probability: use Log()")
    if getattr(parts[0], "n_quantiles", 0) > MAX_QUANTILES:
        raise EstimatorError(f"QuantileTransformer(n_quantiles={parts[0].n_quantiles}): use at most {MAX_QUANTILES}")


_WANTED: dict[str, dict[str, tuple[Any, ...]]] = {
    "MinMaxScaler": {"clip": (False,)},
    "MaxAbsScaler": {"clip": (False,)},
    "QuantileTransformer": {"output_distribution": ("uniform",)},
    "GradientBoostingClassifier": {"loss": ("log_loss",), "init": (None, "zero")},
    "HistGradientBoostingClassifier": {"loss": ("log_loss",), "categorical_features": (None, "from_dtype")},
    "HoeffdingTreeClassifier": {"leaf_prediction": ("mc",), "nominal_attributes": (None, [])},
}
"""Parameters that change what a class computes into something that our loop does not."""


def arrays_from(model: Any, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a fitted model that was fitted on some features, in the order of their columns.

    Features that it does not look at are left out. Calibration and medians are those of `arrays_of`.

    Raises
    ------
    EstimatorError
        Where it is none of the classes, was not fitted on two classes, or looks at nothing (`NothingLearnt`).
    """
    library = "river" if class_of(model).startswith("river.") else "sklearn"
    check_estimator(model, library)
    *before, last = steps(model)
    if library == "sklearn" and list(getattr(last, "classes_", [])) not in ([False, True], [0, 1]):
        raise EstimatorError(f"{type(last).__name__} was not fitted on attack and honest hours, as 1 and 0")
    parts = _READERS[type(last).__name__](last, names) if library == "sklearn" else _river(last, names)
    if before:
        parts |= _scaled(before[0], names, library)
    return _narrowed(arrays_of(range(len(names)), **parts))


def _listed(known: dict[str, str]) -> str:
    return ", ".join(known.values())


def _narrowed(arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The same model without the features that it does not look at."""
    looked = np.unique(arrays["feature"][arrays["feature"] != LEAF]) if len(arrays["roots"]) else np.flatnonzero(
        arrays["weights"]
    )  # fmt: skip
    if not len(looked):
        raise NothingLearnt("the fitted model looks at no feature: it found nothing that tells attacks")
    place = np.full(len(arrays["columns"]) + 1, LEAF, np.int32)  # the last one is a leaf's
    place[looked] = np.arange(len(looked))
    found = dict(arrays)
    for part in ("columns", "shift", "scale", "quantiles", "median"):
        found[part] = arrays[part][looked]
    found["weights"] = arrays["weights"][looked] if len(arrays["weights"]) else arrays["weights"]
    found["feature"] = place[arrays["feature"]]
    return found


def _scaled(scaler: Any, names: Sequence[str], library: str) -> dict[str, Any]:
    kind, k = type(scaler).__name__, len(names)
    if library == "river":
        spread = [math.sqrt(scaler.vars[name]) if scaler.with_std else 1.0 for name in names]
        # River makes a feature that never differed 0
        return {"shift": [scaler.means[name] for name in names], "scale": [s if s > 0 else HUGE for s in spread]}
    if kind == "QuantileTransformer":
        return {"quantiles": np.maximum.accumulate(scaler.quantiles_.T, axis=1), "references": scaler.references_}
    if kind == "MinMaxScaler":  # x * scale_ + min_
        return {"shift": -scaler.min_ / scaler.scale_, "scale": 1.0 / scaler.scale_}
    shift = {"StandardScaler": "mean_", "RobustScaler": "center_"}.get(kind, "")
    # A StandardScaler keeps the means that it does not take off.
    found = getattr(scaler, shift, None) if getattr(scaler, "with_mean", True) else None
    scale = getattr(scaler, "scale_", None)
    return {"shift": np.zeros(k) if found is None else found, "scale": np.ones(k) if scale is None else scale}


def _logistic(model: Any, names: Sequence[str]) -> dict[str, Any]:
    return {"weights": model.coef_[0], "base": model.intercept_}


class _Trees:
    """Nodes of several trees behind each other."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Any]] = {
            name: [] for name in ("roots", "feature", "threshold", "left", "right", "missing_left", "value")
        }
        self.size = 0

    def add(self, leaf: Any, feature: Any, threshold: Any, left: Any, right: Any, missing: Any, value: Any) -> None:
        """Add a tree, each `(n,)`, children by their place in it."""
        leaf = np.asarray(leaf, np.bool_)
        kept = {
            "roots": [self.size], "feature": np.where(leaf, LEAF, feature),
            "threshold": np.where(leaf, 0.0, np.minimum(threshold, HUGE)),
            "left": np.where(leaf, 0, np.asarray(left, np.int64) + self.size),
            "right": np.where(leaf, 0, np.asarray(right, np.int64) + self.size),
            "missing_left": np.where(leaf, False, missing), "value": np.where(leaf, value, 0.0),
        }  # fmt: skip
        for name, part in kept.items():
            self.parts[name].append(part)
        self.size += len(leaf)

    def take(self, tree: Any, value: Any) -> None:
        """Add a tree of scikit-learn, with the value of each of its nodes."""
        self.add(
            tree.children_left < 0, tree.feature, tree.threshold, tree.children_left, tree.children_right,
            tree.missing_go_to_left, value,
        )  # fmt: skip

    def whole(self, **more: Any) -> dict[str, Any]:
        return {name: np.concatenate(parts) for name, parts in self.parts.items()} | more


def _forest(model: Any, names: Sequence[str]) -> dict[str, Any]:
    members, trees = getattr(model, "estimators_", [model]), _Trees()
    for member in members:
        value = member.tree_.value[:, 0, :]
        trees.take(member.tree_, value[:, 1] / value.sum(axis=1) / len(members))
    return trees.whole(share=[True], single=[True])


def _boosted(model: Any, names: Sequence[str]) -> dict[str, Any]:
    trees = _Trees()
    for member in model.estimators_[:, 0]:
        trees.take(member.tree_, member.tree_.value[:, 0, 0] * model.learning_rate)
    base = 0.0 if model.init == "zero" else float(_log_odds(model.init_.class_prior_[1]))
    return trees.whole(base=[base], single=[True])


def _histogram(model: Any, names: Sequence[str]) -> dict[str, Any]:
    trees = _Trees()
    for (predictor,) in model._predictors:  # noqa: SLF001 - scikit-learn has no public way to its trees
        nodes = predictor.nodes
        if nodes["is_categorical"].any():
            raise EstimatorError("HistGradientBoostingClassifier with categorical features cannot become arrays")
        trees.add(
            nodes["is_leaf"], nodes["feature_idx"], nodes["num_threshold"], nodes["left"], nodes["right"],
            nodes["missing_go_to_left"], nodes["value"],
        )  # fmt: skip
    return trees.whole(base=np.asarray(model._baseline_prediction).ravel())  # noqa: SLF001 - as above


def _log_odds(share: float) -> float:
    least = float(np.finfo(np.float32).eps)  # as scikit-learn
    kept = min(max(share, least), 1.0 - least)
    return math.log(kept / (1.0 - kept))


_READERS = {
    "LogisticRegression": _logistic, "DecisionTreeClassifier": _forest, "RandomForestClassifier": _forest,
    "ExtraTreesClassifier": _forest, "GradientBoostingClassifier": _boosted,
    "HistGradientBoostingClassifier": _histogram,
}  # fmt: skip


def _river(model: Any, names: Sequence[str]) -> dict[str, Any]:
    if type(model).__name__ == "LogisticRegression":
        weights = model.weights
        return {"weights": [float(weights.get(name, 0.0)) for name in names], "base": [float(model.intercept)]}
    place = {name: k for k, name in enumerate(names)}
    nodes: list[tuple[Any, ...]] = []

    def visit(node: Any) -> int:
        at = len(nodes)
        nodes.append(())
        if hasattr(node, "children"):
            if class_of(node) != "river.tree.nodes.branch.NumericBinaryBranch":
                raise EstimatorError(f"a tree splits by {class_of(node)}: use a splitter that cuts numbers in two")
            left, right = (visit(child) for child in node.children)
            nodes[at] = (False, place[node.feature], node.threshold, left, right, False, 0.0)
        else:
            total = sum(node.stats.values())
            nodes[at] = (True, 0, 0.0, 0, 0, False, node.stats.get(True, 0.0) / total if total else 0.0)
        return at

    root = model._root  # noqa: SLF001 - River has no public way to its nodes
    if root is None:
        raise NothingLearnt("HoeffdingTreeClassifier has learnt nothing yet")
    visit(root)
    trees = _Trees()
    trees.add(*map(list, zip(*nodes, strict=True)))
    return trees.whole(share=[True])
