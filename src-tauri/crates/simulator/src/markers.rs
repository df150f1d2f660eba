//! Wishes in the prompt's last text: `[[output 200]]`, `[[thinking 40]]`, `[[tool NAME]]`, `[[refuse]]`, `[[fault cut; after_events=2]]`.

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Markers {
    pub(crate) output: Option<u64>,
    pub(crate) thinking: Option<u64>,
    pub(crate) tool: Option<String>,
    pub(crate) refuse: bool,
    pub(crate) fault: Option<String>,
}

impl Markers {
    pub(crate) fn read(text: &str) -> Markers {
        let mut found = Markers::default();
        for marker in text.split("[[").skip(1).filter_map(|rest| Some(rest.split_once("]]")?.0)) {
            let (name, value) = marker.split_once(' ').unwrap_or((marker, ""));
            match name {
                "output" => found.output = value.trim().parse().ok(),
                "thinking" => found.thinking = value.trim().parse().ok(),
                "tool" => found.tool = Some(value.trim().to_owned()),
                "refuse" => found.refuse = true,
                "fault" => found.fault = Some(value.to_owned()),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_wherever_they_stand() {
        let found =
            Markers::read("Say hello [[output 200]][[refuse]] a[[1]] [[fault cut; after_bytes=7]] [[tool add]] [[open");
        let expected = Markers {
            output: Some(200),
            refuse: true,
            fault: Some("cut; after_bytes=7".to_owned()),
            tool: Some("add".to_owned()),
            thinking: None,
        };
        assert_eq!(found, expected);
        assert_eq!(Markers::read("nothing [output 3]"), Markers::default());
    }
}
