//! Writes the Swift, Kotlin and Python code of a built `libclaudemesh_ffi`; see bindings/generate.

#![forbid(unsafe_code)]

fn main() {
    uniffi::uniffi_bindgen_main();
}
