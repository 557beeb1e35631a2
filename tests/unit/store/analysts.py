"""What an analyst's tools do with the user that `tocsin query-user create` made: run as a process of its own, as they
are used. Prints what they saw as JSON."""

import json
import sys

import clickhouse_connect
import pandas as pd  # type: ignore[import-untyped]
from sqlalchemy import MetaData, Table, create_engine, func, inspect, select, text


def main(url: str, host: str, port: int, user: str, password: str) -> None:
    client = clickhouse_connect.get_client(
        host=host, port=port, username=user, password=password, database="notify", autogenerate_session_id=True
    )
    ends = "SELECT status, count() AS n FROM notifications GROUP BY status ORDER BY status"
    by_pandas = client.query_df(ends)
    by_polars = client.query_df_arrow(ends, dataframe_library="polars")
    bound = client.query("SELECT count() FROM notifications WHERE status = %(status)s", {"status": "sent"})
    by_server = client.query(
        "SELECT count() FROM notifications WHERE status = {status:String} AND has({all:Array(String)}, status)",
        {"status": "sent", "all": ["it's", "sent"]},
    )
    engine = create_engine(url.replace("clickhouse://", "clickhousedb://"))
    seen = inspect(engine)
    engagement = Table("engagement", MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        sent = connection.execute(select(func.sum(engagement.c.sent))).scalar()
        frame = pd.read_sql(text("SELECT hour, count FROM delivery_hourly"), connection)
    found = {
        "pandas": dict(zip(by_pandas["status"], by_pandas["n"].astype(int).tolist(), strict=True)),
        "polars": dict(zip(by_polars["status"].to_list(), by_polars["n"].to_list(), strict=True)),
        "bound": bound.result_rows[0][0],
        "bound by the server": by_server.result_rows[0][0],
        "schemas": seen.get_schema_names(),
        "tables": seen.get_table_names(),
        "views": seen.get_view_names(),
        "columns": [column.name for column in engagement.columns],
        "exist": [seen.has_table("engagement"), seen.has_table("nowhere")],
        "sent": sent,
        "frame": [str(frame["hour"].dtype).startswith("datetime64"), int(frame["count"].sum())],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
