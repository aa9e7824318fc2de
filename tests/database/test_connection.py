"""Transactions: whole or not at all, alone or in company."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import SQLAlchemyError

from headrace.database import Database


@pytest.fixture
def numbers(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    yield database
    database.close()


def insert(connection: Connection, number: int) -> int:
    connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
    return number


def all_of(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT number FROM numbers ORDER BY number")).scalars())


def test_a_write_that_raises_leaves_nothing(numbers: Database) -> None:
    def write_and_fail() -> None:
        with numbers.write() as connection:
            insert(connection, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert all_of(numbers) == []


def test_what_is_to_happen_after_the_commit_happens_then_and_only_then(numbers: Database) -> None:
    seen: list[list[int]] = []

    def write(fail: bool) -> None:
        with numbers.write() as connection:
            insert(connection, 1)
            numbers.after_commit(connection, lambda: seen.append(all_of(numbers)))
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(fail=True)
    assert seen == []
    write(fail=False)
    assert seen == [[1]]


def test_a_reader_that_fails_before_its_first_statement_leaves_its_connection_usable(numbers: Database) -> None:
    def read_and_fail() -> None:
        with numbers.read():
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            read_and_fail()
    assert all_of(numbers) == []


@pytest.mark.parametrize("durable", [True, False])
def test_a_change_in_company_gives_its_own_result_or_its_own_error(numbers: Database, durable: bool) -> None:
    """While a writer holds the others up, some changes gather; one of them breaks a rule of the table."""
    results: dict[int, object] = {}
    all_wait = threading.Barrier(9)

    def change(index: int) -> None:
        number = index if index < 7 else 3  # 3 twice: the second breaks the primary key

        def make(connection: Connection) -> int:
            return insert(connection, number)

        all_wait.wait()
        try:
            results[index] = numbers.write_together(make, durable=durable)
        except SQLAlchemyError as error:
            results[index] = error

    threads = [threading.Thread(target=change, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    with numbers.write() as connection:
        insert(connection, 100)
        all_wait.wait()
    for thread in threads:
        thread.join()
    errors = [index for index, result in results.items() if isinstance(result, SQLAlchemyError)]
    assert len(errors) == 1
    assert errors[0] in (3, 7)
    assert all(results[index] == index for index in range(7) if index not in errors)
    assert all_of(numbers) == [0, 1, 2, 3, 4, 5, 6, 100]


def test_changes_that_wait_at_the_same_moment_share_a_commit(numbers: Database) -> None:
    if not numbers.is_sqlite:
        pytest.skip("PostgreSQL shares its own commits: commit_delay and its log writer")
    commits: list[object] = []
    event.listen(numbers._writing, "commit", commits.append)
    gathered = threading.Barrier(11)

    def change(number: int) -> None:
        gathered.wait()
        numbers.write_together(lambda connection: insert(connection, number))

    threads = [threading.Thread(target=change, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    with numbers.write() as connection:
        insert(connection, 100)
        gathered.wait()
        while len(numbers._waiting) < 10:
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join()
    assert len(all_of(numbers)) == 11
    writes = len(commits)
    assert writes == 2, "the holder's own, and one for all ten"


def test_a_write_inside_a_write_is_refused_instead_of_waiting_for_ever(numbers: Database) -> None:
    with numbers.write() as connection:
        with pytest.raises(RuntimeError, match="inside a transaction"), numbers.write():
            pass
        insert(connection, 1)
    assert all_of(numbers) == [1]


def test_two_databases_on_one_file_wait_for_each_other(numbers: Database) -> None:
    """Two processes' worth of writers: each has a lock of its own, the file's lock orders them."""
    other = Database(numbers.engine.url.render_as_string(hide_password=False))

    def write(database: Database, start: int) -> None:
        for number in range(start, start + 40):
            if number % 2:
                database.write_together(lambda connection, number=number: insert(connection, number))  # type: ignore[misc]
            else:
                with database.write() as connection:
                    insert(connection, number)

    threads = [threading.Thread(target=write, args=(numbers, 0)), threading.Thread(target=write, args=(other, 1000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert len(all_of(numbers)) == 80
