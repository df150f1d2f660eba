//! Watches the migrations.

fn main() {
    // A new migration alone must rebuild what embeds it.
    println!("cargo:rerun-if-changed=migrations");
}
