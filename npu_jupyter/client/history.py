"""A job's metrics as a DataFrame and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npu_jupyter.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SIZE_IN = (8, 3)


def frame(metrics: list[dict[str, Any]]) -> pd.DataFrame:
    """Lay metrics out by step; what a step did not measure is missing.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise MissingExtra("job.metrics()", "pandas") from None
    rows = pd.DataFrame(metrics)
    if rows.empty:
        return pd.DataFrame({"loss": [], "learning_rate": []}, index=pd.Index([], name="step"))
    return rows.groupby("step").first()  # an evaluation is told apart from its step


def figure(metrics: pd.DataFrame, title: str) -> Figure:
    """Draw loss and learning rate over steps.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        raise MissingExtra("job.plot()", "pandas") from None
    drawn, (loss, rate) = plt.subplots(1, 2, figsize=_SIZE_IN, layout="constrained")
    for name, style in (("loss", "-"), ("eval_loss", "o--")):
        if name in metrics:
            known = metrics[name].dropna()
            loss.plot(known.index, known, style, label=name.replace("_", " "))
    loss.set(title=title, xlabel="step", ylabel="loss")
    if loss.get_legend_handles_labels()[0]:
        loss.legend()
    if "learning_rate" in metrics:
        known = metrics["learning_rate"].dropna()
        rate.plot(known.index, known)
    rate.set(xlabel="step", ylabel="learning rate")
    plt.close(drawn)  # or the notebook would show it a second time
    return drawn
