//! What the driver charges, as NVIDIA's management library says through `nvidia-smi`, which comes with every driver.

use crate::setup;
use std::collections::HashMap;

/// What is in use on the cards. Empty where the driver does not say.
#[derive(Default)]
pub(super) struct Driver {
    /// Used and total bytes of a card, by its UUID.
    cards: HashMap<String, (u64, u64)>,
    /// Bytes of a process on a card.
    processes: HashMap<(u32, String), u64>,
}

impl Driver {
    /// As it is now.
    pub(super) fn ask() -> Driver {
        let query = |query| {
            setup::output("nvidia-smi", &[query, "--format=csv,noheader,nounits"]).unwrap_or_default()
        };
        let cards = query("--query-gpu=uuid,memory.used,memory.total");
        Driver::read(&cards, &query("--query-compute-apps=pid,gpu_uuid,used_memory"))
    }

    /// Lines of `uuid, used, total` and of `pid, uuid, used`, in MiB. What is not a number is not known.
    pub(super) fn read(cards: &str, processes: &str) -> Driver {
        let mut driver = Driver::default();
        for line in cards.lines() {
            if let [uuid, used, total] = cells(line)
                && let (Some(used), Some(total)) = (mebibytes(used), mebibytes(total))
            {
                driver.cards.insert(uuid.into(), (used, total));
            }
        }
        for line in processes.lines() {
            if let [pid, uuid, used] = cells(line)
                && let (Ok(pid), Some(used)) = (pid.parse(), mebibytes(used))
            {
                // A process has a line for each of its contexts.
                *driver.processes.entry((pid, uuid.into())).or_default() += used;
            }
        }
        driver
    }

    /// Used and total bytes of a card.
    pub(super) fn used(&self, uuid: [u8; 16]) -> Option<(u64, u64)> {
        self.cards.get(&name(uuid)).copied()
    }

    /// What a process is charged on a card, its context among it.
    pub(super) fn charged(&self, pid: u32, uuid: [u8; 16]) -> Option<u64> {
        self.processes.get(&(pid, name(uuid))).copied()
    }
}

/// The three cells of a line; of a line that has fewer, empty ones.
fn cells(line: &str) -> [&str; 3] {
    let mut cells = line.split(", ").map(str::trim);
    std::array::from_fn(|_| cells.next().unwrap_or(""))
}

fn mebibytes(cell: &str) -> Option<u64> {
    cell.parse::<u64>().ok()?.checked_mul(1 << 20)
}

/// As `nvidia-smi` writes a UUID.
fn name(uuid: [u8; 16]) -> String {
    let mut name = String::from("GPU");
    for (i, byte) in uuid.into_iter().enumerate() {
        name += if [0, 4, 6, 8, 10].contains(&i) { "-" } else { "" };
        name += &format!("{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let uuid = [0x12; 16];
        let gpu = "GPU-12121212-1212-1212-1212-121212121212";
        assert_eq!(name(uuid), gpu);
        let driver = Driver::read(
            &format!("{gpu}, 5, 80\nGPU-x, [N/A], 80\nnonsense\n"),
            &format!("1, {gpu}, 3\n1, {gpu}, 4\n2, {gpu}, [N/A]\n\n"),
        );
        assert_eq!(driver.used(uuid), Some((5 << 20, 80 << 20)));
        assert_eq!((driver.charged(1, uuid), driver.charged(2, uuid)), (Some(7 << 20), None));
        assert_eq!((driver.cards.len(), driver.processes.len()), (1, 1));
    }
}
