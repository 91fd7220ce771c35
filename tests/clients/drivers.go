// Go's drivers, pgx and lib/pq, which Grafana's data source is built on, against `polysema serve` with the demo's run.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/jackc/pgx/v4/pgxpool"
	_ "github.com/lib/pq"
)

func check(holds bool, what ...interface{}) {
	if !holds {
		fmt.Fprintln(os.Stderr, append([]interface{}{"required:"}, what...)...)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	url := fmt.Sprintf("postgres://%s@%s:%s/demo?sslmode=disable", os.Getenv("PGUSER"), os.Getenv("PGHOST"), os.Getenv("PGPORT"))
	pool, err := pgxpool.Connect(ctx, url)
	check(err == nil, "a connection", err)
	check(pool.Ping(ctx) == nil, "an answer")

	rows, err := pool.Query(ctx, "SELECT column_name, data_type, udt_name, numeric_precision FROM information_schema.columns "+
		"WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position", "demo", "neurons")
	check(err == nil, "columns", err)
	types := map[string]string{}
	for rows.Next() {
		var column, data, name string
		var precision *int
		check(rows.Scan(&column, &data, &name, &precision) == nil, "a column")
		types[column] = data + " " + name
	}
	check(types["layer"] == "integer int4" && types["w_in"] == "ARRAY _float4", types)

	var weights []float32
	var most float32
	row := pool.QueryRow(ctx, "SELECT w_in, max_activation FROM demo.neurons WHERE layer = $1 AND neuron = $2", 3, 417)
	err = row.Scan(&weights, &most)
	check(err == nil && len(weights) > 1 && most > 0, "weights", err)

	// As a panel asks: statements in one text, answers in text.
	connection, err := pool.Acquire(ctx)
	check(err == nil, "a connection of the pool", err)
	answers := connection.Conn().PgConn().Exec(ctx, "SELECT 1; SELECT to_timestamp(1700000000) AS time, layer, avg(max_activation) "+
		"FROM demo.neurons GROUP BY layer")
	counts := []int{}
	for answers.NextResult() {
		counts = append(counts, len(answers.ResultReader().Read().Rows))
	}
	check(answers.Close() == nil && len(counts) == 2 && counts[1] > 1, "two answers", counts)

	plain, err := sql.Open("postgres", url)
	check(err == nil, "lib/pq", err)
	var count int
	err = plain.QueryRow("SELECT count(*) FROM demo.layers WHERE layer = $1", 0).Scan(&count)
	check(err == nil && count == 1, "a layer", err, count)
	fmt.Println("ok pgx, lib/pq")
}
