//! Bad circumstances in the cluster, and what others made: a clear error, nothing changed.
