"""SQL for polysemantic neurons.

    >>> import polysema
    >>> db = polysema.connect()
    >>> db.sql("SELECT 1 + $n AS answer", n=41).rows()
    [(42,)]

A connection is a store of runs with the settings of one session. `Connection.sql` takes any statement; every table function
is a method, as in `db.feature_clusters(7, 1024, threshold=0.4)`. A `Result` goes to pandas, polars, pyarrow, DuckDB and
whatever else reads Arrow streams.
"""

from ._connection import Connection, connect
from ._lib import Error
from ._neuron import Neuron
from ._result import Result

__all__ = ["Connection", "Error", "Neuron", "Result", "connect"]
