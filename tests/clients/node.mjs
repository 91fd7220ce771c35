// node-postgres against `polysema serve` with the demo's run; PGHOST, PGPORT and PGUSER say where it is.
import assert from "node:assert";
import pg from "pg";

const client = new pg.Client({ database: "demo" });
await client.connect();
const { rows } = await client.query("SELECT neuron, activation, token FROM feature_clusters($1, $2)", [3, 417]);
assert(rows.length > 0 && rows[0].neuron === 417 && rows[0].activation > 0);
const named = { name: "weights", text: "SELECT w_in FROM demo.neurons WHERE layer = $1 LIMIT 1", values: [3] };
for (let time = 0; time < 2; time++) {
  const answer = await client.query(named);
  assert(Array.isArray(answer.rows[0].w_in) && typeof answer.rows[0].w_in[0] === "number");
}
await assert.rejects(client.query("SELECT nothing FROM nowhere"), { code: "42P01" });
await client.end();
console.log("ok node-postgres");
