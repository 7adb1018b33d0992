# %% [markdown]
# # From an archive to a better detector
#
# The loop of [the lab](lab.md) as a data scientist walks it. Each `# %%` is a cell for Jupyter (with Jupytext), VS Code, PyCharm or
# Spyder; as a plain script it prints the same. It reads what three commands made in this folder:
#
# ```
# siphonwatch archive --to archive
# siphonwatch dataset may --data archive --labels verdicts --labels labels.csv
# siphonwatch train extraction --data may --out ext-2
# ```
#
# It needs `siphonwatch[lab]` and, for tables, Polars; pandas and DuckDB take the same objects.

# %%
import numpy as np
import polars
from matplotlib.figure import Figure

from siphonwatch.models.account.features import FEATURES
from siphonwatch.streams.lab import notebook as lab

PATTERN = "extraction"

# %% [markdown]
# ## What is known
# Labels are about an account and a span of time; who said it, and when it was known, stands beside each.

# %%
may = lab.dataset("may")
labels = polars.DataFrame(may.labels())
print(labels.group_by("label", "source").len().sort("label", "source"))

# %% [markdown]
# ## What separates attacks from honest accounts
# One row is an account's last request of an hour. Accounts are compared, not rows: each counts with its mean, so that a loud one
# does not decide. A feature's AUC is the chance that an attacking account has more of it than an honest one.

# %%
hourly = polars.DataFrame(lab.features(may, "hourly"))
accounts = (
    hourly.filter(polars.col("label").is_in(["attack", "honest"]))
    .group_by("account", "label")
    .agg(polars.col([feature.name for feature in FEATURES]).mean())
)
attack = (accounts["label"] == "attack").to_numpy()
print(f"{attack.sum()} attacking and {(~attack).sum()} honest accounts")


def auc(values: np.ndarray) -> float:
    """The chance that an attacking account has more than an honest one; a tie is half a chance."""
    more = values[attack][:, None] - values[~attack]
    return float(np.mean((more > 0) + 0.5 * (more == 0)))


separates = (
    polars.DataFrame({"feature": [f.name for f in FEATURES], "unit": [f.unit for f in FEATURES]})
    .with_columns(auc=np.array([auc(accounts[feature.name].to_numpy()) for feature in FEATURES]))
    .sort(abs(polars.col("auc") - 0.5), descending=True)
)
print(separates.head(8))

# %%
best = separates.head(12).reverse()
features = Figure(figsize=(7, 4.5), layout="constrained")
axes = features.add_subplot()
axes.barh(best["feature"].to_list(), best["auc"].to_numpy() - 0.5, left=0.5, color="tab:blue")
axes.axvline(0.5, color="grey", linewidth=1)
axes.set(xlim=(0, 1), xlabel="AUC: 0 less in attacks, 0.5 no difference, 1 more", title="Features that separate most")
axes.set_axisbelow(True)
axes.grid(axis="x", alpha=0.3)
features

# %% [markdown]
# ## How the shipped card scores them
# Right of the null level lies what one honest account-hour in 20 may reach.

# %%
scores = lab.plot_scores(lab.features(may, "hourly"), PATTERN)
scores

# %% [markdown]
# ## Would the trained version have caught more, and at what cost?
# Both judge the same requests in one pass. `siphonwatch backtest shipped ext-2 --data may --html diff.html` writes the same as a page.

# %%
comparison = lab.backtest("shipped", "ext-2", may, replicates=200)
print(*comparison.answer, sep="\n")
moves = [
    {"what": what, "account": move.account, "kind": move.kind}
    for what, moved in (
        ("caught now", comparison.gained),
        ("missed now", comparison.lost),
        ("false now", comparison.false_new),
    )
    for move in moved
]
print(polars.DataFrame(moves, schema={"what": str, "account": str, "kind": str}))

# %% [markdown]
# ## Features as they were when scored
# Workers log those of each alert, and with `features.log = "hourly"` those of each account-hour; an archive of log files has none.

# %%
logged = polars.DataFrame(lab.rows("archive", "features"))
print(f"{len(logged):,} logged rows, {logged['account'].n_unique():,} accounts")
