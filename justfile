# `just` lists what there is.
default:
    @just --list

# Everything that must hold before a change goes in
ci:
    .ci/run

# All tests
test:
    cargo test --workspace

# Formats all sources
fmt:
    cargo fmt --all

# Lints, as .ci/run asks for them
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p claudemesh-core --no-default-features -- -D warnings

# Our crypto against libsodium, on so many random cases per test
oracle cases="2000":
    CLAUDEMESH_ORACLE_CASES={{cases}} cargo test --release -p claudemesh-core --features oracle --test oracle

# Benchmarks; see docs/performance.md
bench:
    cargo bench --workspace

# The crates' documentation, with every broken link an error
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# The packages for Swift, Kotlin and Python, and their tests; says what cannot run here
bindings *parts:
    bindings/check {{parts}}
