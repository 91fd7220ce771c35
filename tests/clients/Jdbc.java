// The JDBC driver against `polysema serve` with the demo's run: java -cp postgresql.jar Jdbc.java HOST PORT USER
import java.sql.*;
import java.util.Properties;

public class Jdbc {
    static final String ENDLESS = "SELECT count(*) FROM demo.tokens a, demo.tokens b, demo.tokens c "
        + "WHERE a.token < b.token OR c.token > a.token";

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static void fails(String state, Statement ask, String query) throws SQLException {
        try {
            ask.executeQuery(query);
            check(false, query + " did not fail");
        } catch (SQLException error) {
            check(state.equals(error.getSQLState()), error.getSQLState() + " " + error.getMessage());
        }
    }

    /** Reads all rows; how many there are, and whether one has this value in this column. */
    static int rows(ResultSet rows, String column, String value) throws SQLException {
        int count = 0;
        boolean found = value == null;
        try (rows) {
            for (; rows.next(); count++) {
                String own = column == null ? null : rows.getString(column);
                found |= value != null && value.equals(own);
            }
        }
        check(found, column + " = " + value);
        return count;
    }

    public static void main(String[] at) throws Exception {
        Properties user = new Properties();
        user.setProperty("user", at[2]);
        String url = "jdbc:postgresql://" + at[0] + ":" + at[1] + "/demo?prepareThreshold=2";
        try (Connection connection = DriverManager.getConnection(url, user)) {
            queries(connection);
            portals(connection);
            cancel(connection);
            facts(connection.getMetaData());
            check("demo".equals(connection.getCatalog()), connection.getCatalog());
            check("demo".equals(connection.getSchema()), connection.getSchema());
            readOnly(connection);
            System.out.println("ok jdbc " + connection.getMetaData().getDriverVersion());
        }
    }

    static void queries(Connection connection) throws SQLException {
        for (int time = 0; time < 4; time++) { // in text first, in binary later
            try (PreparedStatement ask = connection.prepareStatement(
                    "SELECT neuron, activation, token FROM feature_clusters(?, ?)")) {
                ask.setInt(1, 3);
                ask.setInt(2, 417);
                try (ResultSet rows = ask.executeQuery()) {
                    check(rows.next() && rows.getInt(1) == 417 && rows.getFloat(2) > 0, "rows");
                }
            }
            try (PreparedStatement ask = connection.prepareStatement("SELECT w_in FROM demo.neurons LIMIT 1");
                 ResultSet rows = ask.executeQuery()) {
                check(rows.next() && rows.getMetaData().getColumnTypeName(1).equals("_float4"), "_float4");
                Float[] weights = (Float[]) rows.getArray(1).getArray();
                check(weights.length > 1 && weights[0] != null, "array");
            }
        }
        try (PreparedStatement ask = connection.prepareStatement("SELECT count(*) FROM demo.layers WHERE layer = ANY(?)")) {
            ask.setArray(1, connection.createArrayOf("int4", new Object[] {0, 1, 99}));
            try (ResultSet rows = ask.executeQuery()) {
                check(rows.next() && rows.getLong(1) == 2, "an array as a parameter");
            }
        }
    }

    static void portals(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement ask = connection.createStatement()) {
            ask.setFetchSize(100);
            check(rows(ask.executeQuery("SELECT layer FROM demo.neurons"), null, null) > 100, "portals");
            fails("42P01", ask, "SELECT nothing FROM nowhere");
            fails("25P02", ask, "SELECT 1");
            connection.rollback();
        }
        connection.setAutoCommit(true);
    }

    static void cancel(Connection connection) throws Exception {
        try (Statement ask = connection.createStatement()) {
            ask.setQueryTimeout(1);
            fails("57014", ask, ENDLESS);
            ask.setQueryTimeout(0);
            Thread other = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    ask.cancel();
                } catch (Exception error) {
                    throw new AssertionError(error);
                }
            });
            other.start();
            fails("57014", ask, ENDLESS);
            other.join();
            check(rows(ask.executeQuery("SELECT 1 AS one"), "one", "1") == 1, "after a cancel");
        }
    }

    static void facts(DatabaseMetaData facts) throws SQLException {
        check(facts.getDatabaseProductName().equals("PostgreSQL"), facts.getDatabaseProductName());
        rows(facts.getCatalogs(), "TABLE_CAT", "demo");
        rows(facts.getSchemas(), "TABLE_SCHEM", "demo");
        rows(facts.getTables(null, "demo", "%", new String[] {"TABLE"}), "TABLE_NAME", "neurons");
        rows(facts.getTables(null, "demo", "%", new String[] {"VIEW"}), "TABLE_NAME", "cluster_sizes");
        rows(facts.getTables(null, null, "pg_cl%", null), "TABLE_NAME", "pg_class");
        rows(facts.getColumns(null, "demo", "neurons", "layer"), "TYPE_NAME", "int4");
        rows(facts.getColumns(null, "demo", "neurons", "w_in"), "TYPE_NAME", "_float4");
        rows(facts.getColumns(null, "demo", "neurons", "max%"), "REMARKS", "largest activation of all tokens");
        rows(facts.getTypeInfo(), "TYPE_NAME", "float4");
        rows(facts.getTableTypes(), "TABLE_TYPE", "TABLE");
        rows(facts.getFunctions(null, null, "array_l%"), "FUNCTION_NAME", "array_lower");
        rows(facts.getTablePrivileges(null, "demo", "neurons"), null, null);
        ResultSet[] none = {
            facts.getPrimaryKeys(null, "demo", "neurons"), facts.getIndexInfo(null, "demo", "neurons", false, true),
            facts.getImportedKeys(null, "demo", "neurons"), facts.getExportedKeys(null, "demo", "neurons"),
            facts.getCrossReference(null, "demo", "neurons", null, "demo", "layers"),
            facts.getBestRowIdentifier(null, "demo", "neurons", DatabaseMetaData.bestRowSession, true),
            facts.getProcedures(null, "demo", "%"), facts.getUDTs(null, "demo", "%", null),
            facts.getFunctionColumns(null, "demo", "%", "%"), facts.getColumnPrivileges(null, "public", "%", "%"),
        };
        for (ResultSet rows : none) check(rows(rows, null, null) == 0, "no rows");
    }

    static void readOnly(Connection connection) throws SQLException {
        connection.setReadOnly(true);
        connection.setAutoCommit(false);
        try (Statement ask = connection.createStatement()) {
            fails("25006", ask, "CREATE TABLE public.made AS SELECT 1 AS one");
        }
        connection.rollback();
        connection.setAutoCommit(true);
        connection.setReadOnly(false);
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        check(connection.isValid(5), "valid");
    }
}
