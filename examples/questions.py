"""Five questions to ClickHouse, each with a plot: how a notebook begins.

    pip install clickhouse-connect pandas polars matplotlib
    python examples/questions.py "$(tocsin query-user create ana)" plots

The first argument is the URL that `tocsin query-user create` prints: clickhouse://NAME:PASSWORD@HOST:PORT/notify.
"""

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import matplotlib

matplotlib.use("Agg")  # files, no windows; leave it out in a notebook

import matplotlib.pyplot as plt

#: By the name of its plot: what is asked, and in SQL. The first column is the axis; of three the second names series.
QUESTIONS = {
    "ends": (
        "How did sends end, hour by hour?",
        "SELECT hour, status, sum(count) AS sends FROM delivery_hourly "
        "WHERE status IN ('sent', 'failed', 'expired', 'suppressed', 'cancelled') GROUP BY ALL ORDER BY hour, status",
    ),
    "latency": (
        "How long did the slowest hundredth of each priority take, in ms?",
        "SELECT hour, toString(priority) AS priority, max(p99_ms) AS p99 FROM latency_hourly "
        "GROUP BY ALL ORDER BY hour, priority",
    ),
    "decisions": (
        "Which rules kept most back?",
        "SELECT toString(reason) AS reason, sum(count) AS n FROM decisions GROUP BY ALL ORDER BY n DESC LIMIT 10",
    ),
    "providers": (
        "Which part of its calls does each provider accept?",
        "SELECT toString(provider) AS provider, sum(accepted) / sum(calls) AS part FROM provider_hourly "
        "GROUP BY ALL ORDER BY provider",
    ),
    "engagement": (
        "Which part of what was sent is opened, by channel?",
        "SELECT toString(channel) AS channel, sum(e.opened) / sum(e.sent) AS part FROM engagement AS e "
        "WHERE e.sent > 0 GROUP BY ALL ORDER BY channel",
    ),
}


def main(url: str, folder: str) -> None:
    at = urlsplit(url)
    client = clickhouse_connect.get_client(
        host=at.hostname or "127.0.0.1",
        port=at.port or 8123,
        username=unquote(at.username or ""),
        password=unquote(at.password or ""),
        database="notify",
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, (question, sql) in QUESTIONS.items():
        frame = client.query_df_arrow(sql, dataframe_library="polars").to_pandas()
        if len(frame.columns) > 2:  # a line for each series, where there are several hours
            frame = frame.pivot(index=frame.columns[0], columns=frame.columns[1], values=frame.columns[2])
        elif len(frame):
            frame = frame.set_index(frame.columns[0])
        axes = plt.subplots(figsize=(9, 4), layout="constrained")[1]
        axes.set_title(question)
        if len(frame):
            frame.plot(ax=axes, kind="line" if len(frame.columns) > 1 and len(frame) > 1 else "bar")
        path = Path(folder) / f"{name}.png"
        plt.savefig(path)
        plt.close()
        print(f"{question} {len(frame)} rows, {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
