// The JDBC driver against `polysema serve` with the demo's run: java -cp postgresql.jar Jdbc.java HOST PORT USER
import java.sql.*;
import java.util.Properties;

public class Jdbc {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    public static void main(String[] at) throws Exception {
        Properties user = new Properties();
        user.setProperty("user", at[2]);
        String url = "jdbc:postgresql://" + at[0] + ":" + at[1] + "/demo?prepareThreshold=2";
        try (Connection connection = DriverManager.getConnection(url, user)) {
            for (int time = 0; time < 4; time++) { // in text first, in binary later
                try (PreparedStatement ask = connection.prepareStatement(
                        "SELECT neuron, activation, token FROM feature_clusters(?, ?)")) {
                    ask.setInt(1, 3);
                    ask.setInt(2, 417);
                    try (ResultSet rows = ask.executeQuery()) {
                        check(rows.next() && rows.getInt(1) == 417 && rows.getFloat(2) > 0, "rows");
                    }
                }
            }
            try (Statement ask = connection.createStatement();
                 ResultSet rows = ask.executeQuery("SELECT w_in FROM demo.neurons LIMIT 1")) {
                check(rows.next() && ((Object[]) rows.getArray(1).getArray()).length > 1, "array");
            }
            connection.setAutoCommit(false);
            try (Statement ask = connection.createStatement()) {
                ask.setFetchSize(100);
                int count = 0;
                try (ResultSet rows = ask.executeQuery("SELECT layer FROM demo.neurons")) {
                    while (rows.next()) count++;
                }
                check(count > 100, "portals");
                try {
                    ask.executeQuery("SELECT nothing FROM nowhere");
                    check(false, "nowhere was found");
                } catch (SQLException error) {
                    check("42P01".equals(error.getSQLState()), error.getSQLState());
                }
                connection.rollback();
                ask.setQueryTimeout(1);
                try {
                    ask.executeQuery("SELECT count(*) FROM demo.tokens a, demo.tokens b, demo.tokens c "
                        + "WHERE a.token < b.token OR c.token > a.token");
                    check(false, "no timeout");
                } catch (SQLException error) {
                    check("57014".equals(error.getSQLState()), error.getSQLState());
                }
                connection.rollback();
            }
            connection.setReadOnly(true);
            DatabaseMetaData facts = connection.getMetaData();
            check(facts.getDatabaseProductName().equals("PostgreSQL"), facts.getDatabaseProductName());
            boolean found = false;
            try (ResultSet tables = facts.getTables(null, "demo", "%", new String[] {"TABLE"})) {
                while (tables.next()) found |= tables.getString("TABLE_NAME").equals("neurons");
            }
            check(found, "tables");
            try (ResultSet columns = facts.getColumns(null, "demo", "neurons", "%")) {
                check(columns.next() && columns.getString("COLUMN_NAME").equals("layer"), "columns");
            }
            System.out.println("ok jdbc " + facts.getDriverVersion());
        }
    }
}
