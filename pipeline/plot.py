"""Equity and drawdown as a picture."""

from typing import TYPE_CHECKING, Any

from pipeline.errors import RunError

if TYPE_CHECKING:
    from pipeline.result import Result

MOST_POINTS = 5_000


def figure(result: "Result") -> Any:
    """Two panels over time: equity and drawdown, thinned to what a screen can show.

    Raises
    ------
    RunError
        If Plotly is not installed.
    """
    try:
        from plotly.graph_objects import Figure, Scatter
    except ImportError:
        raise RunError("plot() needs Plotly: pip install 'tapeline[report]'") from None
    step = max(1, len(result.equity) // MOST_POINTS)
    frame = result.equity.gather_every(step, offset=max(0, len(result.equity) - 1) % step)
    chart = Figure()
    chart.add_trace(Scatter(x=frame["ts"].to_list(), y=frame["equity"].to_list(), name=f"equity ({result.config.account.currency})"))
    chart.add_trace(Scatter(x=frame["ts"].to_list(), y=(-frame["drawdown"]).to_list(), name="drawdown", fill="tozeroy", yaxis="y2"))
    title = f"{result.config.name} {result.run_id}" + (" (simulated data)" if result.dataset.info.get("simulated") else "")
    chart.update_layout(title=title, yaxis={"domain": [0.35, 1.0]}, yaxis2={"domain": [0.0, 0.28], "tickformat": ".0%", "anchor": "x"})
    return chart
