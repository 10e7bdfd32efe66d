//! Stacks that fail: the cause is named at once, with a hint of its own, and the next run repairs.
