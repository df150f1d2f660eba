//! The icon in the tray: the gate with its water level and the number beside it, the state in five lines, and the commands that can't wait.

use std::sync::Mutex;
use std::time::Duration;

use app::veil::Veil;
use app::view::StatusView;
use tauri::image::Image;
use tauri::menu::{CheckMenuItem, MenuBuilder, MenuEvent, MenuItem, PredefinedMenuItem, SubmenuBuilder};
use tauri::tray::{TrayIcon, TrayIconBuilder};
use tauri::{AppHandle, Manager, Wry};

use crate::shell::Said;
use crate::{Shell, notifier, window, words};

const OPEN: &str = "open";
const PAUSE: &str = "pause";
const EMERGENCY: &str = "emergency";
const SNOOZE_HOUR: &str = "snooze-hour";
const SNOOZE_DAY: &str = "snooze-day";
const COPY: &str = "copy";
const EXPORT: &str = "export";
const QUIT: &str = "quit";
const LINES: usize = 5;

pub(crate) struct Tray {
    icon: TrayIcon,
    lines: [MenuItem<Wry>; LINES],
    pause: CheckMenuItem<Wry>,
    emergency: CheckMenuItem<Wry>,
    /// What is copied lives as long as whoever copied it.
    clipboard: Mutex<Option<arboard::Clipboard>>,
    shown: Mutex<Option<Shown>>,
}

#[derive(Clone, PartialEq)]
struct Shown {
    lines: [String; LINES],
    paused: bool,
    is_emergency: bool,
    /// Beside the icon, in its tooltip where a system puts none there: `76 %`.
    number: String,
    level: Level,
    mark: Mark,
}

pub(crate) fn build(app: &AppHandle) -> tauri::Result<Tray> {
    let line = |id: &str, text: &str| MenuItem::with_id(app, id, text, false, None::<&str>);
    let lines = [
        line("window", "Starting")?,
        line("limit", "No limit is known yet")?,
        line("queue", "No calls wait")?,
        line("spend", "Today $0.00")?,
        line("alerts", "No alerts")?,
    ];
    let pause = CheckMenuItem::with_id(app, PAUSE, "Pause background", true, false, None::<&str>)?;
    let emergency = CheckMenuItem::with_id(app, EMERGENCY, "Emergency", true, false, None::<&str>)?;
    let snooze = SubmenuBuilder::new(app, "Snooze alerts")
        .text(SNOOZE_HOUR, "For an hour")
        .text(SNOOZE_DAY, "For a day")
        .build()?;
    let menu = MenuBuilder::new(app)
        .items(&[&lines[0], &lines[1], &lines[2], &lines[3], &lines[4], &PredefinedMenuItem::separator(app)?])
        .items(&[&MenuItem::with_id(app, OPEN, "Open", true, None::<&str>)?, &pause, &emergency, &snooze])
        .text(COPY, "Copy summary")
        .text(EXPORT, "Export CSV…")
        .items(&[&PredefinedMenuItem::separator(app)?, &MenuItem::with_id(app, QUIT, "Quit", true, None::<&str>)?])
        .build()?;
    let icon = TrayIconBuilder::with_id("gate")
        .icon(picture(Level::default(), Mark::Calm))
        .tooltip("Tidegate")
        .menu(&menu)
        .on_menu_event(on_menu)
        .build(app)?;
    Ok(Tray { icon, lines, pause, emergency, clipboard: Mutex::default(), shown: Mutex::new(None) })
}

fn on_menu(app: &AppHandle, event: MenuEvent) {
    match event.id().as_ref() {
        OPEN => window::show(app),
        PAUSE => act(app, async |shell| shell.toggle_background().await),
        EMERGENCY => act(app, async |shell| shell.toggle_emergency().await),
        SNOOZE_HOUR => act(app, async |shell| shell.snooze_alerts(Duration::from_secs(3_600)).await),
        SNOOZE_DAY => act(app, async |shell| shell.snooze_alerts(Duration::from_secs(86_400)).await),
        COPY => app.state::<Tray>().copy(),
        EXPORT => window::reach(app, "export"),
        QUIT => crate::quit(app.clone()),
        _ => {}
    }
}

/// What can't be done is said on the desktop: a menu has no room for it.
fn act(app: &AppHandle, deed: impl AsyncFnOnce(&Shell) -> Said<()> + Send + 'static) {
    let app = app.clone();
    tauri::async_runtime::spawn_blocking(move || {
        let done = tauri::async_runtime::block_on(deed(&app.state::<Shell>()));
        if let Err(cause) = done {
            notifier::failed(&cause);
        }
    });
}

impl Tray {
    /// Touches only what has changed: each change crosses the bus.
    pub(crate) fn show(&self, status: &StatusView, veil: &Veil) {
        let now = Shown::of(status, veil);
        let Ok(mut shown) = self.shown.lock() else { return };
        if shown.as_ref() == Some(&now) {
            return;
        }
        self.draw(shown.as_ref(), &now);
        *shown = Some(now);
    }

    /// The lines of the menu, for a message to somebody.
    fn copy(&self) {
        let lines = self.shown.lock().ok().and_then(|shown| shown.as_ref().map(|shown| shown.lines.join("\n")));
        let Ok(mut clipboard) = self.clipboard.lock() else { return };
        let copied = match clipboard.take().map_or_else(arboard::Clipboard::new, Ok) {
            Ok(open) => clipboard.insert(open).set_text(lines.unwrap_or_default()),
            Err(error) => Err(error),
        };
        if let Err(error) = copied {
            notifier::failed(&format!("the clipboard takes nothing: {error}"));
        }
    }

    fn draw(&self, was: Option<&Shown>, now: &Shown) {
        // A tray that has gone away is not an error of ours.
        for (at, item) in self.lines.iter().enumerate() {
            if was.is_none_or(|was| was.lines[at] != now.lines[at]) {
                let _ = item.set_text(&now.lines[at]);
            }
        }
        let _ = self.pause.set_checked(now.paused);
        let _ = self.emergency.set_checked(now.is_emergency);
        if was.is_none_or(|was| (was.level, was.mark) != (now.level, now.mark)) {
            let _ = self.icon.set_icon(Some(picture(now.level, now.mark)));
        }
        if was.is_none_or(|was| was.number != now.number) {
            let _ = self.icon.set_title(Some(&now.number));
            let _ = self.icon.set_tooltip(Some(format!("Tidegate {}", now.number).trim_end()));
        }
    }
}

impl Shown {
    fn of(status: &StatusView, veil: &Veil) -> Shown {
        // A healthy queue keeps the buckets of a minute full: where there is a window or a budget, its level is the news.
        let minute = || words::binding(status).map(words::used);
        let share = words::fullest(status).map(words::used_of).or_else(minute);
        Shown {
            lines: veil.over_all([
                words::window_line(status),
                words::limit_line(status),
                words::queue_line(status),
                words::spend_line(status),
                words::alert_line(status),
            ]),
            paused: status.queue.background.paused,
            is_emergency: status.emergency.active,
            number: share.map(|share| format!("{:.0} %", (share * 100.0).min(999.0))).unwrap_or_default(),
            level: Level::of(share.unwrap_or(0.0)),
            mark: Mark::of(status),
        }
    }
}

/// From which share of a window or a budget on its colour tells.
const WARNING_FROM: f64 = 0.8;
const CRITICAL_FROM: f64 = 0.95;

/// How high the water stands, in as many steps as the icon can show.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Level(u8);

impl Level {
    const FULL: u8 = 8;

    fn of(share: f64) -> Level {
        Level((share.clamp(0.0, 1.0) * f64::from(Level::FULL)).round() as u8)
    }
}

/// Colour is for what is wrong, and for nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Calm,
    /// A notch over the water.
    Warning,
    /// The water too.
    Critical,
}

impl Mark {
    /// By what is wrong, and by how much of a window or a budget is used, whatever the rules say.
    fn of(status: &StatusView) -> Mark {
        let told = match words::worst(status).map(|alert| alert.severity.as_str()) {
            None => Mark::Calm,
            Some("critical" | "emergency") => Mark::Critical,
            Some(_) => Mark::Warning,
        };
        let used = match words::fullest(status).map_or(0.0, words::used_of) {
            used if used >= CRITICAL_FROM => Mark::Critical,
            used if used >= WARNING_FROM => Mark::Warning,
            _ => Mark::Calm,
        };
        told.max(used)
    }
}

/// The drawing's own, in which its parts are measured, and that of its pixels: twice as fine for screens that are.
const SIDE: u32 = 22;
const FINE: u32 = 2;
/// Stands on light and dark panels alike.
const CALM: [u8; 4] = [0x7B, 0x88, 0x85, 0xFF];
const AMBER: [u8; 4] = [0xD9, 0x8A, 0x1F, 0xFF];
const RED: [u8; 4] = [0xD8, 0x4A, 0x3F, 0xFF];
const AIR: [u8; 4] = [0; 4];

/// Two posts and the water between them; a notch above it from a warning on, all of it red when it is critical.
fn picture(level: Level, mark: Mark) -> Image<'static> {
    let side = SIDE * FINE;
    let pixels = (0..side).flat_map(|y| (0..side).map(move |x| pixel(x, y, level, mark))).flatten().collect();
    Image::new_owned(pixels, side, side)
}

fn pixel(x: u32, y: u32, level: Level, mark: Mark) -> [u8; 4] {
    let surface = (20 * FINE).saturating_sub(u32::from(level.0) * 15 * FINE / u32::from(Level::FULL));
    let alarm = if mark == Mark::Warning { AMBER } else { RED };
    match (x / FINE, y / FINE) {
        (3..=5 | 16..=18, 2..=19) => CALM,
        (7..=14, 1..=2) if mark != Mark::Calm => alarm,
        (7..=14, ..=19) if y >= surface => {
            if mark == Mark::Critical {
                RED
            } else {
                CALM
            }
        }
        _ => AIR,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use app::view::{AlertView, AmountView, WindowView};

    use super::*;

    fn status(used: f64, severity: &str) -> StatusView {
        let window =
            WindowView { used: AmountView::Percent(used), limit: AmountView::Percent(100.0), ..WindowView::default() };
        let alert = AlertView { severity: severity.to_owned(), ..AlertView::default() };
        StatusView { windows: vec![window], alerts: vec![alert], ..StatusView::default() }
    }

    #[test]
    fn colour_is_for_four_fifths_of_a_limit_and_for_alerts() {
        for (used, severity, mark) in [
            (79.0, "info", Mark::Calm),
            (80.0, "info", Mark::Warning),
            (95.0, "warning", Mark::Critical),
            (10.0, "warning", Mark::Warning),
            (80.0, "critical", Mark::Critical),
        ] {
            assert!(Mark::of(&status(used, severity)) == mark, "{used} % and {severity}");
        }
    }

    #[test]
    fn calm_is_of_one_colour_and_each_state_has_a_shape_of_its_own() {
        let colours = |mark| {
            let picture = picture(Level(4), mark);
            let mut all: Vec<_> = picture.rgba().chunks(4).map(<[u8]>::to_vec).collect();
            all.sort();
            all.dedup();
            all.len() - 1
        };
        assert_eq!([Mark::Calm, Mark::Warning, Mark::Critical].map(colours), [1, 2, 2]);
        let shape = |mark| picture(Level(4), mark).rgba().chunks(4).map(|pixel| pixel[3]).collect::<Vec<_>>();
        assert_ne!(shape(Mark::Calm), shape(Mark::Warning), "a notch too");
    }

    /// `icons/tray-*.png`, for whoever writes about it. `TIDEGATE_DRAW=1` draws them anew.
    #[test]
    fn the_icons_of_the_tray_are_as_it_draws_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../icons");
        for (name, level, mark) in
            [("calm", 4, Mark::Calm), ("warning", 7, Mark::Warning), ("critical", 8, Mark::Critical)]
        {
            let file = folder.join(format!("tray-{name}.png"));
            let drawn = picture(Level(level), mark);
            if std::env::var_os("TIDEGATE_DRAW").is_some() {
                let file = std::fs::File::create(&file).expect("it can be written");
                let mut encoder = png::Encoder::new(file, drawn.width(), drawn.height());
                encoder.set_color(png::ColorType::Rgba);
                encoder.write_header().and_then(|mut image| image.write_image_data(drawn.rgba())).expect("drawn");
            }
            let kept = Image::from_path(&file).expect("a picture");
            assert!(kept.rgba() == drawn.rgba(), "{} is another picture", file.display());
        }
    }
}
