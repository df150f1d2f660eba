//! What Tauri prepares before the window is compiled.

fn main() {
    tauri_build::build()
}
