//! Bad input and bad circumstances in AWS: a clear error, nothing changed.
