"""What programs that cannot be run here ask when they connect and read a database's tables, asked of `polysema serve` with the
demo's run: the files `*.sql` beside this one whose statements say what their answers must be.

    -- what the client asks
    --= rows 1..        how many rows: a number, or a range; `..` without an end has none
    --= columns a, b    the names of the columns
    --= types int4 text the types of the columns as PostgreSQL names them
    --= some a=x, b=y   a row that has these values
    --= all a=x         every row has
    --= keep n = oid where a=x   a value for the parameters of later statements
    --= with :n 'text' 5         the parameters: integers are sent as int8, text as varchar, as Java's driver does
    statement;
"""

import os
import re
import sys
from pathlib import Path

import psycopg
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumperVarchar

CHECK = re.compile(r"^--= (\w+) (.*)$", re.MULTILINE)


def pairs(text):
    return [pair.strip().split("=", 1) for pair in text.split(",")]


def holds(row, wanted):
    return all(str(row.get(name)) == value for name, value in wanted)


def check(name, what, rows, columns, types, kept):
    if name == "rows":
        least, _, most = what.partition("..")
        most = most or (least if ".." not in what else str(sys.maxsize))
        assert int(least) <= len(rows) <= int(most), f"{what} rows are required, got {len(rows)}"
    elif name == "columns":
        wanted = [column.strip() for column in what.split(",")]
        assert columns == wanted, f"the columns {wanted} are required, got {columns}"
    elif name == "types":
        assert types == what.split(), f"the types {what} are required, got {' '.join(types)}"
    elif name == "some":
        assert any(holds(row, pairs(what)) for row in rows), f"a row with {what} is required, got {rows[:5]}"
    elif name == "all":
        wrong = [row for row in rows if not holds(row, pairs(what))]
        assert not wrong, f"rows with {what} are required, got {wrong[:3]}"
    elif name == "keep":
        key, column, where = re.fullmatch(r"(\w+) = (\w+) where (.*)", what).groups()
        kept[key] = next(row[column] for row in rows if holds(row, pairs(where)))
    else:
        assert name == "with", f"rows, columns, types, some, all, keep or with is required, got {name}"


def parameters(checks, kept):
    words = next((what.split() for name, what in checks if name == "with"), [])
    of = lambda word: kept[word[1:]] if word[0] == ":" else word[1:-1] if word[0] == "'" else int(word)
    return [of(word) for word in words]


def replay(path):
    connection = psycopg.connect(host=os.environ["PGHOST"], port=os.environ["PGPORT"], user=os.environ["PGUSER"], dbname="demo", autocommit=True)
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(str, StrDumperVarchar)
    kept, asked = {}, 0
    for statement in re.split(r";\s*\n", path.read_text()):
        checks = CHECK.findall(statement)
        text = "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip()
        if not text:
            continue
        try:
            cursor = psycopg.RawCursor(connection)
            cursor.execute(text, parameters(checks, kept))
            columns = [column.name for column in cursor.description or []]
            types = [column.type_display for column in cursor.description or []]
            rows = [dict(zip(columns, row)) for row in cursor.fetchall()] if cursor.description else []
            for name, what in checks:
                check(name, what, rows, columns, types, kept)
        except (AssertionError, psycopg.Error, StopIteration) as error:
            sys.exit(f"{path.name}: {type(error).__name__} {error}\nof\n{statement.strip()}")
        asked += 1
    connection.close()
    print(f"ok {path.stem} ({asked} statements replayed)")


for path in map(Path, sys.argv[1:]):
    replay(path)
