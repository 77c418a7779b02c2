//! Parquet in and out, shuffle, seal and threads around the pure kernels of `recon-core`.
