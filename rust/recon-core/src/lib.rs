//! Pure kernels: markers, digests, comparing, name folding, user IDs, password hashes. No clock, files, network or threads.
