//! What a run is made from: a seed, and what was taken away from it to make a failure small.

use std::fmt;
use std::str::FromStr;

/// What can go wrong, besides what the order of steps does.
pub const FAULTS: [&str; 13] = [
    "disconnect",
    "crash",
    "restart",
    "disk",
    "commit",
    "changed",
    "remove",
    "wait",
    "cut",
    "skew",
    "broker-clock",
    "hour",
    "twice",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// Members; none: as the seed says.
    pub members: Option<u8>,
    /// Steps of the first part; none: as the seed says.
    pub steps: Option<u64>,
    /// Only the faults from this one on and before that one, by their number.
    pub faults: (u64, u64),
    /// None of these.
    pub without: Vec<String>,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            members: None,
            steps: None,
            faults: (0, u64::MAX),
            without: Vec::new(),
        }
    }

    /// The plan of a seed among many: the first 2,000 are as their seeds say, and so is every tenth
    /// after them; the others are small, so that there can be many more of them in the same time.
    pub fn among_many(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        if seed > 2_000 && !seed.is_multiple_of(10) {
            plan.members = Some(2 + u8::from(seed.is_multiple_of(5)));
            plan.steps = Some(40 + seed * 7_919 % 80);
        }
        plan
    }

    pub fn allows(&self, fault: &str, number: u64) -> bool {
        let (from, to) = self.faults;
        (from..to).contains(&number) && !self.without.iter().any(|none| none == fault)
    }

    /// The command that does the same again.
    pub fn command(&self) -> String {
        let plan = self.to_string();
        let plan = if plan.is_empty() {
            plan
        } else {
            format!("CLAUDEMESH_SIM_PLAN='{plan}' ")
        };
        let seed = self.seed;
        format!(
            "CLAUDEMESH_SIM_SEED={seed} {plan}cargo test -p broker-min --test simulation -- \
             --nocapture promises"
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.members.map(|n| format!("members={n}")));
        parts.extend(self.steps.map(|n| format!("steps={n}")));
        if self.faults != (0, u64::MAX) {
            parts.push(format!("faults={}..{}", self.faults.0, self.faults.1));
        }
        if !self.without.is_empty() {
            parts.push(format!("without={}", self.without.join("+")));
        }
        f.write_str(&parts.join(" "))
    }
}

impl FromStr for Plan {
    type Err = String;

    /// As it is written, without the seed.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut plan = Self::of(0);
        for part in text.split_whitespace() {
            let bad = || format!("not understood in a plan: {part}");
            let (name, value) = part.split_once('=').ok_or_else(bad)?;
            match name {
                "members" => plan.members = Some(value.parse().map_err(|_| bad())?),
                "steps" => plan.steps = Some(value.parse().map_err(|_| bad())?),
                "faults" => {
                    let (from, to) = value.split_once("..").ok_or_else(bad)?;
                    let number = |text: &str| text.parse().map_err(|_| bad());
                    plan.faults = (number(from)?, number(to)?);
                }
                "without" => {
                    plan.without = value.split('+').map(str::to_owned).collect();
                    if plan.without.iter().any(|none| !FAULTS.contains(&&**none)) {
                        return Err(bad());
                    }
                }
                _ => return Err(bad()),
            }
        }
        Ok(plan)
    }
}

/// How a run ended that failed.
pub struct Failed {
    pub steps: u64,
    pub faults: u64,
    pub why: String,
}

/// Takes away what the failure does not need: kinds of faults, members, steps, single faults. `run`
/// says how a plan fails, if it does; it is asked `most` times at most.
pub fn shrink(
    plan: &Plan,
    first: Failed,
    most: usize,
    run: impl Fn(&Plan) -> Option<Failed>,
) -> (Plan, Failed, usize) {
    let (mut best, mut failed, mut runs) = (plan.clone(), first, 0);
    let mut attempt = |smaller: Plan, best: &mut Plan, failed: &mut Failed| -> bool {
        if runs >= most || smaller == *best {
            return false;
        }
        runs += 1;
        match run(&smaller) {
            Some(found) => {
                (*best, *failed) = (smaller, found);
                true
            }
            None => false,
        }
    };
    for members in 2..5 {
        let smaller = Plan {
            members: Some(members),
            ..best.clone()
        };
        if attempt(smaller, &mut best, &mut failed) {
            break;
        }
    }
    for fault in FAULTS {
        let mut smaller = best.clone();
        smaller.without.push(fault.to_owned());
        attempt(smaller, &mut best, &mut failed);
    }
    // Half of what is left, then a quarter, an eighth.
    for part in [2, 4, 8, 16, 32] {
        loop {
            let now = best.steps.unwrap_or(failed.steps).min(failed.steps);
            let steps = Some(now - now / part);
            let smaller = Plan {
                steps,
                ..best.clone()
            };
            if now / part == 0 || !attempt(smaller, &mut best, &mut failed) {
                break;
            }
        }
        loop {
            let (from, to) = best.faults;
            let to = to.min(failed.faults);
            let cut = to.saturating_sub(from) / part;
            let later = Plan {
                faults: (from + cut, to),
                ..best.clone()
            };
            let earlier = Plan {
                faults: (from, to - cut),
                ..best.clone()
            };
            let shrunk = cut > 0
                && (attempt(later, &mut best, &mut failed)
                    || attempt(earlier, &mut best, &mut failed));
            if !shrunk {
                break;
            }
        }
    }
    (best, failed, runs)
}
