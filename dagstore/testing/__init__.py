"""What tests and benchmarks share: a contract for storages, and small projects, stores, clocks and measurements."""
