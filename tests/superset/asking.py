"""What Superset does with a database that somebody adds to it. Run by its own Python; prints what it saw as JSON."""

import json
import sys

from superset.app import create_app  # type: ignore[import-not-found]


def main(url: str) -> None:
    app = create_app()
    with app.app_context():
        from sqlalchemy import column

        from superset.models.core import Database  # type: ignore[import-not-found]
        from superset.sql.parse import Table  # type: ignore[import-not-found]

        database = Database(database_name="tocsin", sqlalchemy_uri="clickhousedb://")
        database.set_sqlalchemy_uri(url)
        spec = database.db_engine_spec
        views = database.get_all_view_names_in_schema(None, "notify")
        engagement = Table("engagement", "notify")
        columns = database.get_columns(engagement)
        daily = spec.get_timestamp_expr(column("hour"), None, "P1D")
        frame = database.get_df(
            f"SELECT {daily} AS day, sum(count) AS n FROM delivery_hourly GROUP BY day ORDER BY day", None, "notify"
        )
        found = {
            "spec": spec.__name__,
            "schemas": sorted(database.get_all_schema_names(catalog=None)),
            "tables": sorted(each[0] for each in database.get_all_table_names_in_schema(None, "notify")),
            "views": sorted(each[0] for each in views),
            "columns": [column["column_name"] for column in columns],
            "types": sorted({str(column["type"]) for column in columns}),
            "star": database.select_star(engagement, limit=5),
            "functions": len(spec.get_function_names(database)),
            "days": [[str(day), int(n)] for day, n in frame.itertuples(index=False)],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
