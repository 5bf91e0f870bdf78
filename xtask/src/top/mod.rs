//! `cargo xtask top`: what the running processes hold, as they show it themselves, and what the driver charges them.

mod driver;

use crate::{
    failure::{Failure, Result},
    options::Options,
};
use driver::Driver;
use std::{
    fmt::Write as _,
    fs,
    io::{self, IsTerminal, Write},
    thread,
    time::Duration,
};
use taut_memory::{Figures, Kind, Published};

/// The time between two frames.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows one frame, or on a terminal one after the other in the same place, until it is interrupted.
pub(crate) fn top(mut options: Options) -> Result<()> {
    let once = options.flag("--once") || !io::stdout().is_terminal();
    let only = pid(&options)?;
    let mut out = io::stdout().lock();
    let mut show = |text: &str| match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("showing the figures", &error))
        }
        other => Ok(other.is_ok()),
    };
    if once {
        return show(&frame(only)?).map(drop);
    }
    show("\x1b[2J")?;
    // From the upper left, each line to its end, and nothing of the last frame below.
    while show(&format!("\x1b[H{}\x1b[J", frame(only)?.replace('\n', "\x1b[K\n")))? {
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// The process that is asked for, if one is.
fn pid(options: &Options) -> Result<Option<u32>> {
    let names: Vec<_> = options.rest().map(|name| name.to_string_lossy().into_owned()).collect();
    match names.as_slice() {
        [] => Ok(None),
        [name] => name.parse().map(Some).map_err(|_| {
            Failure::new("reading the command line", format!("`{name}` is no number of a process"))
                .remedy("`cargo xtask top` without a number shows every process")
        }),
        _ => Err(Failure::new("reading the command line", "top takes one number of a process at most")),
    }
}

/// A process and what it shows.
struct Process {
    pid: u32,
    command: String,
    pools: Vec<Figures>,
    left_out: u64,
}

fn frame(only: Option<u32>) -> Result<String> {
    let published = match only {
        None => Published::all(),
        Some(pid) => Published::of(pid).transpose().map(|published| (pid, published)).into_iter().collect(),
    };
    if let (Some(pid), true) = (only, published.is_empty()) {
        return Err(Failure::new("reading its figures", format!("process {pid} shows none")).remedy(HOW));
    }
    let (mut processes, mut notes) = (Vec::new(), String::new());
    for (pid, published) in published {
        match published {
            Ok(published) => processes.push(Process {
                pid,
                command: fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().into(),
                pools: published.figures(),
                left_out: published.left_out(),
            }),
            Err(error) => notes.extend([error.to_string(), "\n".into()]),
        }
    }
    let on_card = processes.iter().flat_map(|process| &process.pools).any(|pool| pool.uuid.is_some());
    let driver = if on_card { Driver::ask() } else { Driver::default() };
    Ok(render(&processes, &driver) + &notes)
}

/// What a user must do to see something.
const HOW: &str = "start it with TAUT_TOP=1 in its environment, or call `taut::memory::publish()` in it";

fn render(processes: &[Process], driver: &Driver) -> String {
    if processes.is_empty() {
        return format!("no process shows its figures: {HOW}\n");
    }
    let head = ["PID", "COMMAND", "DEVICE", "LIVE", "PEAK", "RESERVED", "PEAK", "BUDGET", "DRIVER"];
    let mut rows = vec![(head.map(str::to_owned), String::new())];
    for Process { pid, command, pools, left_out } in processes {
        for pool in pools {
            let charged = pool.uuid.and_then(|uuid| driver.charged(*pid, uuid));
            let cells = [
                pid.to_string(),
                command.clone(),
                pool.device.clone(),
                size(pool.live_bytes()),
                size(pool.peak_live_bytes),
                size(pool.reserved_bytes),
                size(pool.peak_reserved_bytes),
                size(pool.budget_bytes),
                charged.map_or("-".into(), size),
            ];
            rows.push((cells, kinds(pool)));
        }
        if *left_out > 0 {
            let cells = std::array::from_fn(|i| if i == 0 { pid.to_string() } else { String::new() });
            rows.push((cells, format!("{left_out} pools are not shown: there are too many")));
        }
    }
    let mut text = table(&rows);
    for (uuid, name) in cards(processes) {
        let used = driver
            .used(uuid)
            .map_or("-".into(), |(used, total)| format!("{} of {}", size(used), size(total)));
        let _ = writeln!(text, "\n{name}, all processes: {used}");
    }
    text
}

/// The cards of all processes, each once.
fn cards(processes: &[Process]) -> Vec<([u8; 16], &str)> {
    let pools = processes.iter().flat_map(|process| &process.pools);
    let mut cards: Vec<_> = pools.filter_map(|pool| Some((pool.uuid?, pool.device.as_str()))).collect();
    cards.sort_unstable();
    cards.dedup_by_key(|card| card.0);
    cards
}

/// Columns as wide as they must be, numbers to the right, and below a row what belongs to it.
fn table(rows: &[([String; 9], String)]) -> String {
    let widths: [usize; 9] =
        std::array::from_fn(|i| rows.iter().map(|(cells, _)| cells[i].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (cells, below) in rows {
        let mut line = String::new();
        for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let _ = match i {
                1 | 2 => write!(line, "{cell:<width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        text.extend([line.trim_end(), "\n"]);
        if !below.is_empty() {
            let _ = writeln!(text, "{:1$}  {below}", "", widths[0]);
        }
    }
    text
}

/// `weights 1.00 GiB, input 12.00 KiB`, the largest first.
fn kinds(pool: &Figures) -> String {
    let mut kinds: Vec<_> = Kind::ALL.into_iter().zip(pool.live_by_kind).filter(|kind| kind.1 > 0).collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.1));
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, bytes)| format!("{kind} {}", size(bytes))).collect();
    kinds.join(", ")
}

fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|&(bits, _)| bytes >> bits > 0) {
        Some((bits, unit)) => format!("{:.2} {unit}", bytes as f64 / (1u64 << bits) as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(device: &str, uuid: Option<[u8; 16]>) -> Figures {
        Figures {
            device: device.into(),
            uuid,
            capacity_bytes: 1 << 37,
            overhead_bytes: 0,
            budget_bytes: 1 << 37,
            reserved_bytes: 6 << 20,
            peak_reserved_bytes: 8 << 20,
            live_by_kind: [3 << 20, 0, 0, 0, 4 << 20, 0, 0, 12],
            peak_live_bytes: 7 << 20,
            allocations: 3,
        }
    }

    #[test]
    fn a_frame_has_a_line_for_each_pool() {
        let (a, b) = (pool("cpu", None), pool("cuda:0 (H200)", Some([0xab; 16])));
        let server = Process { pid: 7, command: "server".into(), pools: vec![a, b.clone()], left_out: 0 };
        let other = Process { pid: 4321, command: "x".into(), pools: vec![b], left_out: 2 };
        let uuid = "GPU-abababab-abab-abab-abab-abababababab";
        let driver = Driver::read(&format!("{uuid}, 1024, 143771\n"), &format!("7, {uuid}, 600\n"));
        let want = "
 PID  COMMAND  DEVICE             LIVE      PEAK  RESERVED      PEAK      BUDGET      DRIVER
   7  server   cpu            7.00 MiB  7.00 MiB  6.00 MiB  8.00 MiB  128.00 GiB           -
      activations 4.00 MiB, weights 3.00 MiB, output 12 B
   7  server   cuda:0 (H200)  7.00 MiB  7.00 MiB  6.00 MiB  8.00 MiB  128.00 GiB  600.00 MiB
      activations 4.00 MiB, weights 3.00 MiB, output 12 B
4321  x        cuda:0 (H200)  7.00 MiB  7.00 MiB  6.00 MiB  8.00 MiB  128.00 GiB           -
      activations 4.00 MiB, weights 3.00 MiB, output 12 B
4321
      2 pools are not shown: there are too many

cuda:0 (H200), all processes: 1.00 GiB of 140.40 GiB
";
        assert_eq!(render(&[server, other], &driver), want[1..]);
    }

    #[test]
    fn nobody_shows_anything() {
        assert!(render(&[], &Driver::default()).contains("TAUT_TOP=1"));
    }
}
