//! What a launcher may know of a card.

use taut_kernels::args::LARGE_PARAMS;

/// The facts of one card that decisions depend on: enough to plan for a card that is not here.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The name that the driver gives it.
    pub name: String,
    /// The compute capability, major and minor.
    pub capability: (u32, u32),
    /// The number of multiprocessors.
    pub multiprocessors: u32,
    /// The size of the L2 cache.
    pub l2_bytes: u64,
    /// The memory of the card.
    pub memory_bytes: u64,
    /// What was in use on the card when it was opened: this process's context, and all of other processes.
    pub context_bytes: u64,
    /// Whether memory can be put at addresses of one's choice, and be seen at several. Where not, and where
    /// `TAUT_SEGMENTS=1` in the environment says so, it comes in [segments](taut_memory::Backing::is_segmented).
    pub maps_memory: bool,
    /// Whether this build has the kernels that are made for cards of this capability alone.
    pub own_kernels: bool,
    /// The most dynamic shared memory that one block can ask for.
    pub shared_bytes: u32,
    /// The most bytes of parameters that a kernel takes: 4,096 with drivers older than CUDA 12.1, 32,764 with others.
    pub params_bytes: u32,
}

impl Card {
    /// An NVIDIA H200 (SXM, 141 GB), as its driver describes it.
    pub fn h200() -> Card {
        Card {
            name: "NVIDIA H200".into(),
            capability: (9, 0),
            multiprocessors: 132,
            l2_bytes: 60 << 20,
            memory_bytes: 150_121_545_728,
            context_bytes: 552 << 20,
            maps_memory: true,
            own_kernels: true,
            shared_bytes: 232_448,
            params_bytes: LARGE_PARAMS,
        }
    }
}
