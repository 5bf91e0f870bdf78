//! What to compile for.

use std::process::Command;

/// One architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    major: u32,
    minor: u32,
    ptx: bool,
}

/// What `TAUT_ARCHS` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// No CUDA at all.
    None,
    /// The cards that are here, and PTX.
    Present,
    /// These.
    List(Vec<Target>),
}

/// The last resort: runs on every card from 8.0 on, compiled by the driver when it is loaded.
const PTX: Target = Target { major: 8, minor: 0, ptx: true };

/// The oldest that the kernels are written for: bf16 conversions.
const OLDEST: (u32, u32) = (8, 0);

impl Request {
    pub(crate) fn parse(list: &str) -> Result<Request, String> {
        match list.trim() {
            "" => Ok(Request::Present),
            "none" => Ok(Request::None),
            "all" => {
                let code = [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)];
                let code = code.map(|(major, minor)| Target { major, minor, ptx: false });
                Ok(Request::List(code.into_iter().chain([PTX]).collect()))
            }
            list => list
                .split(',')
                .map(|one| Target::parse(one.trim()))
                .collect::<Result<_, _>>()
                .map(Request::List),
        }
    }
}

impl Target {
    fn parse(name: &str) -> Result<Target, String> {
        let bad = || format!("TAUT_ARCHS: {name:?} is not a compute capability such as 8.9, 9.0a or ptx8.0");
        let (ptx, number) = name.strip_prefix("ptx").map_or((false, name), |rest| (true, rest));
        // 9.0 is always 9.0a: there is no other card of that kind.
        let number = if ptx { number } else { number.strip_suffix('a').unwrap_or(number) };
        let (major, minor) = number.split_once('.').ok_or_else(bad)?;
        let target = Target {
            major: major.parse().map_err(|_| bad())?,
            minor: minor.parse().map_err(|_| bad())?,
            ptx,
        };
        if (name.ends_with('a') && !target.own()) || (target.major, target.minor) < OLDEST || target.minor > 9
        {
            return Err(bad());
        }
        Ok(target)
    }

    /// Whether there is code for this target that may use what only the capability `only_on` has.
    pub(crate) fn has(&self, only_on: Option<(u32, u32)>) -> bool {
        only_on.is_none_or(|capability| self.own() && capability == (self.major, self.minor))
    }

    /// Whether the code uses what only this one capability has.
    fn own(&self) -> bool {
        !self.ptx && (self.major, self.minor) == (9, 0)
    }

    pub(crate) fn is_ptx(&self) -> bool {
        self.ptx
    }

    /// As NVRTC lists it: 90 for 9.0.
    pub(crate) fn number(&self) -> u32 {
        10 * self.major + self.minor
    }

    /// As [`Module::arch`](crate::Module::arch) says it.
    pub(crate) fn name(&self) -> String {
        let (ptx, own) = (if self.ptx { "ptx" } else { "" }, if self.own() { "a" } else { "" });
        format!("{ptx}{}.{}{own}", self.major, self.minor)
    }

    /// The compiler's option.
    pub(crate) fn option(&self) -> String {
        let (kind, own) = (if self.ptx { "compute" } else { "sm" }, if self.own() { "a" } else { "" });
        format!("--gpu-architecture={kind}_{}{own}", self.number())
    }
}

/// Targets for cards of these capabilities, 9.0a if there is none, and PTX; with a warning for each card that is left
/// to PTX or left out.
pub(crate) fn present(cards: &[String], knows: &dyn Fn(&Target) -> bool) -> (Vec<Target>, Vec<String>) {
    let (mut targets, mut warnings) = (Vec::new(), Vec::new());
    for card in cards {
        match Target::parse(card) {
            Ok(target) if targets.contains(&target) => {}
            Ok(target) if knows(&target) => targets.push(target),
            Ok(_) => warnings.push(format!(
                "this NVRTC does not know compute capability {card}: the driver will compile PTX, once, when a kernel \
                 is first used"
            )),
            Err(_) => warnings.push(format!("no kernels for compute capability {card}: 8.0 or newer is needed")),
        }
    }
    if cards.is_empty() {
        targets.push(Target { major: 9, minor: 0, ptx: false });
    }
    targets.push(PTX);
    (targets, warnings)
}

/// The compute capabilities of the cards that are here.
pub(crate) fn cards() -> Vec<String> {
    let query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
    match Command::new("nvidia-smi").args(query).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let cards = text.lines().map(|line| line.trim().to_owned());
            cards.filter(|card| card.contains('.')).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        match Request::parse(list).unwrap() {
            Request::List(targets) => targets.iter().map(Target::name).collect(),
            other => panic!("{list}: {other:?}"),
        }
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(names("all"), ["8.0", "8.9", "9.0a", "10.0", "12.0", "ptx8.0"]);
        assert_eq!(names("9.0, ptx8.0"), ["9.0a", "ptx8.0"]);
        assert_eq!(names("9.0a,8.6"), ["9.0a", "8.6"]);
        assert_eq!(Request::parse("none"), Ok(Request::None));
        assert_eq!(Request::parse(" "), Ok(Request::Present));
        for bad in ["sm_90", "9", "7.5", "8.9a", "9.0,,8.0", "ptx", "8.10"] {
            assert!(Request::parse(bad).unwrap_err().contains("TAUT_ARCHS"), "{bad}");
        }
    }

    #[test]
    fn options_are_what_nvrtc_takes() {
        let option = |name| Target::parse(name).unwrap().option();
        assert_eq!(option("9.0"), "--gpu-architecture=sm_90a");
        assert_eq!(option("12.0"), "--gpu-architecture=sm_120");
        assert_eq!(option("ptx8.0"), "--gpu-architecture=compute_80");
    }

    #[test]
    fn cards_decide_where_nothing_is_asked_for() {
        let present = |cards: &[&str]| {
            let cards: Vec<String> = cards.iter().map(ToString::to_string).collect();
            let (targets, warnings) = present(&cards, &|target| target.number() < 130);
            (targets.iter().map(Target::name).collect::<Vec<_>>(), warnings.len())
        };
        assert_eq!(present(&[]), (vec!["9.0a".into(), "ptx8.0".into()], 0));
        assert_eq!(present(&["8.6", "8.6", "9.0"]), (vec!["8.6".into(), "9.0a".into(), "ptx8.0".into()], 0));
        assert_eq!(present(&["7.5", "13.0"]), (vec!["ptx8.0".into()], 2));
    }
}
