//! Kernels one at a time: `cargo bench --package recon-bench --features criterion`, or `make bench` with everything else.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use recon_bench::{ATTRIBUTES, ROWS, Side, names, row, uuid_texts};
use recon_core::compare::{Pairs, compare};
use recon_core::row_digest::{add, column_seed, value_digest};
use recon_core::sha512_crypt::{Salted, sha512_crypt};
use recon_core::{user_id, uuid};

const SEED: u64 = 7;
const HASHES: u64 = 64;
const HASH_ROUNDS: u32 = 1_000;

fn group(criterion: &mut Criterion, elements: u64) -> BenchmarkGroup<'_, WallTime> {
    let mut group = criterion.benchmark_group("kernels");
    group.throughput(Throughput::Elements(elements));
    group
}

fn parse_uuids(criterion: &mut Criterion) {
    let texts = uuid_texts();
    group(criterion, u64::from(ROWS)).bench_function("uuid::parse_text", |bencher| {
        bencher.iter(|| {
            texts
                .iter()
                .filter_map(|text| uuid::parse_text(black_box(text.as_bytes())))
                .fold(0, |sum, id| sum ^ u128::from_be_bytes(id))
        });
    });
}

fn digest_rows(criterion: &mut Criterion) {
    let rows: Vec<_> = (0..ROWS).map(row).collect();
    let seeds: Vec<u64> = (0..ATTRIBUTES as u64).map(|place| column_seed(SEED, place)).collect();
    group(criterion, u64::from(ROWS)).bench_function("row_digest, seven attributes", |bencher| {
        bencher.iter(|| {
            rows.iter().fold(0, |all, row| {
                let mut sum = 0;
                for (value, seed) in row.iter().zip(&seeds) {
                    add(&mut sum, value_digest(Some(black_box(value.as_bytes())), *seed));
                }
                all ^ sum
            })
        });
    });
}

fn compare_sides(criterion: &mut Criterion) {
    let (source, directory) = (Side::new(0), Side::new(1));
    group(criterion, u64::from(ROWS)).bench_function("compare, a fiftieth differs", |bencher| {
        bencher.iter(|| {
            let mut told = 0_u64;
            black_box(compare(&source, &directory, Pairs::Differing, |finding| told += finding.count));
            told
        });
    });
}

fn fold_names(criterion: &mut Criterion) {
    let names = names();
    group(criterion, u64::from(ROWS)).bench_function("user_id::base", |bencher| {
        bencher.iter(|| names.iter().map(|name| user_id::base(black_box(name)).len()).sum::<usize>());
    });
}

fn hash_passwords(criterion: &mut Criterion) {
    let secrets: Vec<String> = (0..HASHES).map(|number| format!("Sandi-{number:09}")).collect();
    let salted: Vec<Salted<'_>> =
        secrets.iter().map(|secret| Salted { secret: secret.as_bytes(), salt: "abcdefghijklmnop" }).collect();
    group(criterion, HASHES).bench_function("sha512_crypt, 1,000 rounds", |bencher| {
        bencher.iter(|| sha512_crypt(black_box(&salted), HASH_ROUNDS));
    });
}

criterion_group!(kernels, parse_uuids, digest_rows, compare_sides, fold_names, hash_passwords);
criterion_main!(kernels);
