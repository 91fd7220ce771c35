-- The report of a night: one file for programs, one for a spreadsheet, one to read.
-- Variables: day, layer. What fails leaves the files of the day before as they are.
\o :day-neurons.parquet
\i neurons.sql
\o :day-neurons.xlsx
\i neurons.sql
\o :day-layers.md
\i layers.sql
