//! The icon in the tray: the gate with its water level, the state in three lines, and three commands.

use std::sync::Mutex;

use app::view::StatusView;
use tauri::image::Image;
use tauri::menu::{CheckMenuItem, MenuBuilder, MenuEvent, MenuItem, PredefinedMenuItem};
use tauri::tray::{TrayIcon, TrayIconBuilder};
use tauri::{AppHandle, Manager, Wry};

use crate::{Shell, notifier, window, words};

const OPEN: &str = "open";
const PAUSE: &str = "pause";
const QUIT: &str = "quit";

pub(crate) struct Tray {
    icon: TrayIcon,
    lines: [MenuItem<Wry>; 3],
    pause: CheckMenuItem<Wry>,
    shown: Mutex<Option<Shown>>,
}

#[derive(Clone, PartialEq)]
struct Shown {
    lines: [String; 3],
    paused: bool,
    level: Level,
}

pub(crate) fn build(app: &AppHandle) -> tauri::Result<Tray> {
    let line = |id: &str, text: &str| MenuItem::with_id(app, id, text, false, None::<&str>);
    let lines = [line("limit", "Starting")?, line("queue", "No calls wait")?, line("spend", "Today $0.00")?];
    let pause = CheckMenuItem::with_id(app, PAUSE, "Pause background", true, false, None::<&str>)?;
    let menu = MenuBuilder::new(app)
        .items(&[&lines[0], &lines[1], &lines[2], &PredefinedMenuItem::separator(app)?])
        .items(&[&MenuItem::with_id(app, OPEN, "Open", true, None::<&str>)?, &pause])
        .items(&[&PredefinedMenuItem::separator(app)?, &MenuItem::with_id(app, QUIT, "Quit", true, None::<&str>)?])
        .build()?;
    let icon = TrayIconBuilder::with_id("gate")
        .icon(picture(Level::default()))
        .tooltip("Tidegate")
        .menu(&menu)
        .on_menu_event(on_menu)
        .build(app)?;
    Ok(Tray { icon, lines, pause, shown: Mutex::new(None) })
}

fn on_menu(app: &AppHandle, event: MenuEvent) {
    match event.id().as_ref() {
        OPEN => window::show(app),
        PAUSE => toggle_background(app.clone()),
        QUIT => crate::quit(app.clone()),
        _ => {}
    }
}

fn toggle_background(app: AppHandle) {
    tauri::async_runtime::spawn(async move {
        if let Err(cause) = app.state::<Shell>().toggle_background().await {
            notifier::failed(&cause);
        }
    });
}

impl Tray {
    /// Touches only what has changed: each change crosses the bus.
    pub(crate) fn show(&self, status: &StatusView) {
        let now = Shown::of(status);
        let Ok(mut shown) = self.shown.lock() else { return };
        if shown.as_ref() == Some(&now) {
            return;
        }
        self.draw(shown.as_ref(), &now);
        *shown = Some(now);
    }

    fn draw(&self, was: Option<&Shown>, now: &Shown) {
        // A tray that has gone away is not an error of ours.
        for (at, item) in self.lines.iter().enumerate() {
            if was.is_none_or(|was| was.lines[at] != now.lines[at]) {
                let _ = item.set_text(&now.lines[at]);
            }
        }
        let _ = self.pause.set_checked(now.paused);
        if was.is_none_or(|was| was.level != now.level) {
            let _ = self.icon.set_icon(Some(picture(now.level)));
        }
    }
}

impl Shown {
    fn of(status: &StatusView) -> Shown {
        let share = words::binding(status).map_or(0.0, words::used);
        Shown {
            lines: [words::limit_line(status), words::queue_line(status), words::spend_line(status)],
            paused: status.queue.background.paused,
            level: Level::of(share),
        }
    }
}

/// How high the water stands, in as many steps as the icon can show.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Level(u8);

impl Level {
    const FULL: u8 = 8;

    fn of(share: f64) -> Level {
        Level((share.clamp(0.0, 1.0) * f64::from(Level::FULL)).round() as u8)
    }

    fn high(self) -> bool {
        self.0 * 10 >= Level::FULL * 8
    }

    fn full(self) -> bool {
        self.0 == Level::FULL
    }
}

const SIDE: u32 = 22;
const POST: [u8; 4] = [0x8C, 0x99, 0x96, 0xFF];
const WATER: [u8; 4] = [0x2F, 0x9B, 0xAE, 0xFF];
const SPATE: [u8; 4] = [0xD8, 0x4A, 0x3F, 0xFF];
const AIR: [u8; 4] = [0; 4];

/// Two posts, the water between them, and from four fifths on a notch above it. The colours stand on light and dark panels.
fn picture(level: Level) -> Image<'static> {
    let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| pixel(x, y, level))).flatten().collect();
    Image::new_owned(pixels, SIDE, SIDE)
}

fn pixel(x: u32, y: u32, level: Level) -> [u8; 4] {
    let surface = 19 - u32::from(level.0) * 14 / u32::from(Level::FULL);
    match (x, y) {
        (3..=5 | 16..=18, 2..=19) => POST,
        (6..=15, 1..=2) if level.high() => SPATE,
        (6..=15, y) if y >= surface && y <= 19 => {
            if level.full() {
                SPATE
            } else {
                WATER
            }
        }
        _ => AIR,
    }
}
