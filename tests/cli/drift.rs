//! What was changed or deleted is planned and repaired, and nothing else.
