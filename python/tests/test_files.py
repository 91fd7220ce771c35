"""What COPY and the command write, read by what its users read with."""

import csv
import io
import math
import subprocess
import sys

import pandas
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

import polysema

ROWS = """SELECT * FROM (VALUES (0.1, 'a,"b"', [1.5, NULL]), (1e-300, '', NULL), ('NaN'::double, NULL, []),
          (-0.0, 'two\nlines', [0.1, 'inf'::double])) AS v(x, word, list)"""


@pytest.fixture
def file(tmp_path):
    def written(name):
        path = tmp_path / name
        with polysema.connect() as db:
            db.sql(f"COPY ({ROWS}) TO '{path}'").to_arrow()
        return path

    return written


def test_csv(file):
    path = file("rows.csv")
    with open(path, newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["word"] for row in rows] == ['a,"b"', "", "", "two\nlines"]
    assert float(rows[0]["x"]) == 0.1 and float(rows[1]["x"]) == 1e-300 and math.isnan(float(rows[2]["x"]))
    assert [row["list"] for row in rows] == ["[1.5,null]", "", "[]", '[0.1,"Infinity"]']
    frame = pandas.read_csv(path)
    assert frame["x"].tolist()[:2] == [0.1, 1e-300] and frame["x"].isna().tolist() == [False, False, True, False]
    assert math.copysign(1, frame["x"][3]) == -1 and frame["word"][3] == "two\nlines"
    # Quotes tell an empty text from NULL, for who looks at them.
    table = pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    assert table["word"].to_pylist() == ['a,"b"', "", None, "two\nlines"]


def test_parquet_and_arrow(file):
    for table in [
        pyarrow.parquet.read_table(file("rows.parquet")),
        pyarrow.ipc.open_file(file("rows.arrow")).read_all(),
    ]:
        assert table["word"].to_pylist() == ['a,"b"', "", None, "two\nlines"]
        assert table["list"].to_pylist() == [[1.5, None], None, [], [0.1, math.inf]]


def command(form):
    main = "import sys; from polysema._cli import main; sys.exit(main())"
    words = [sys.executable, "-c", main, "--format", form, "-c", ROWS]
    done = subprocess.run(words, capture_output=True, check=True)
    assert done.stderr == b""
    return io.BytesIO(done.stdout)


def test_the_command_through_a_pipe():
    tables = [
        pyarrow.ipc.open_stream(command("arrows")).read_all(),
        pyarrow.ipc.open_file(command("arrow")).read_all(),
        pyarrow.parquet.read_table(command("parquet")),
    ]
    for table in tables:
        assert table["word"].to_pylist() == ['a,"b"', "", None, "two\nlines"]
        assert table["list"].to_pylist() == [[1.5, None], None, [], [0.1, math.inf]]


def test_a_workbook():
    frame = pandas.read_excel(command("xlsx"))
    assert frame["x"].tolist()[:2] == [0.1, 1e-300]
    assert frame["word"].tolist()[0] == 'a,"b"' and frame["word"].tolist()[3] == "two\nlines"
    assert frame["list"].tolist()[3] == '[0.1,"Infinity"]'


def test_the_demo_says_commands_that_can_be_called(tmp_path):
    words = [sys.executable, "-c", "from polysema._cli import main; main()", "demo", "--store", str(tmp_path / "store")]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    assert f"\n  polysema --store {tmp_path / 'store'}\n" in done.stdout
