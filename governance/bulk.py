"""Writes many rows of one table at once: COPY on PostgreSQL, one prepared INSERT on SQLite."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Column, Connection, Table, func, insert, select

Cells = tuple[object, ...]


def insert_rows(connection: Connection, columns: Sequence[Column[Any]], rows: Iterable[Cells]) -> None:
    """Add `rows`, each with one cell a column, to the table of `columns`; these stand in the table's order."""
    table = columns[0].table
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
        command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
        with driver.cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row(row)
        return
    cells = list(rows)
    if not cells:
        return
    statement = insert(table).values(dict.fromkeys(columns)).compile(dialect=connection.dialect)
    connection.exec_driver_sql(str(statement), cells)


def number_on(connection: Connection, table: Table) -> None:
    """Have the next row that is added without an id get one above all that are there; SQLite does so by itself."""
    if connection.dialect.name == "postgresql":
        highest = select(func.max(table.c.id)).scalar_subquery()
        connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), highest)))
