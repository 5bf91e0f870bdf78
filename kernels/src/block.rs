//! What a block of a kernel has: its tile, its shared memory and its threads.

use crate::{
    kernel::Kernel,
    variant::{Across, Tile},
};

impl Kernel {
    /// Rows and columns of a tile of a product; 0 for all else.
    pub const fn extent(self) -> (u32, u32) {
        match self {
            Kernel::MatmulWgmma(_, _, Tile::Small) => (64, 128),
            Kernel::MatmulParts(_, _, strip) => strip.extent(),
            // Blocks of 128 threads, with up to 128 sums each.
            Kernel::MatmulF32(_, Tile::Large) => (128, 128),
            Kernel::MatmulF32(_, Tile::Medium) => (64, 128),
            Kernel::Matmul(_, _, tile)
            | Kernel::MatmulWgmma(_, _, tile)
            | Kernel::MatmulGrouped(_, _, tile)
            | Kernel::MatmulF32(_, tile) => tile.extent(),
            Kernel::MatmulAny(_) => Tile::Small.extent(),
            Kernel::MatmulThin(_, thin) => thin.extent(),
            Kernel::MatmulAcross(dtype, across) => (across.rows(), Across::ROW_BYTES / dtype.size() as u32),
            _ => (0, 0),
        }
    }

    /// Whether blocks may go in pairs, that share the second operand's tile: `Shape::kPairs` in `matmul_stages.cuh`.
    pub const fn pairs(self) -> bool {
        matches!(self, Kernel::MatmulWgmma(_, _, tile) | Kernel::MatmulGrouped(_, _, tile) if team(tile) > 1)
    }

    /// Blocks of a cluster that share a factor: `Shape::kShares` in `matmul_parts.cu`.
    pub const fn shares(self) -> u32 {
        match self {
            Kernel::MatmulParts(_, _, strip) => {
                let (across, down) = strip.shares();
                across * down
            }
            _ => 1,
        }
    }

    /// The dynamic shared memory of a block. The sources check that it holds whole stages.
    pub const fn shared_bytes(self) -> u32 {
        match self {
            // Of 32 * 2 bytes for each row and column: 4 stages, which for the largest tile is the most that cards of
            // 8.6, 8.9 and 12.0 give.
            Kernel::Matmul(_, _, tile) => 4 * 64 * (tile.extent().0 + tile.extent().1),
            Kernel::MatmulWgmma(_, _, tile) | Kernel::MatmulGrouped(_, _, tile) => {
                let (m, n) = self.extent();
                // `Shape::kOutBytes` of all warpgroups, and 1 KiB to begin on a multiple of that.
                let out = match tile {
                    Tile::Broad => 2 * 3 * 8192,
                    Tile::Turns => 2 * 2 * 8192,
                    Tile::N176 => 2 * 64 * 176 * 2,
                    Tile::Square => 3 * 8192,
                    _ => 2 * 2 * (m / team(tile) / 64) * 8192,
                };
                stages(tile) * 128 * (m + n) + out + 1024
            }
            Kernel::MatmulParts(_, _, strip) => {
                let (m, n) = strip.extent();
                strip.stages() * 128 * (m + n) + 1024
            }
            // Of 32 rows of a strip, and as many elements of each of the others.
            Kernel::MatmulAcross(dtype, across) => {
                let stage = 32 * (Across::ROW_BYTES + across.rows() * dtype.size() as u32);
                across.warps() * Across::STAGES * stage
            }
            // Elements come by way of registers: more than 2 stages would hide nothing.
            Kernel::MatmulAny(_) => 2 * 64 * (64 + 64),
            // The rows, and two stages of keys and values.
            Kernel::Attention(_, _, width) => self.rows() * width as u32 * 2 + 2 * self.stage_bytes(),
            // The rows, a tile of keys or values, and their weights; all rows 16 bytes longer than what is in them.
            Kernel::AttentionF32(_, width) => {
                let (rows, keys) = (self.rows(), self.keys());
                ((rows + keys) * (width as u32 + 4) + rows * (keys + 4)) * 4
            }
            // 2 stages of 32 rows of the extent and 4 to spread them over banks, for both operands; and a row to
            // spare.
            Kernel::MatmulF32(..) => {
                let (m, n) = self.extent();
                2 * 32 * 4 * (m + 4 + n + 4) + 4 * (n + 4)
            }
            _ => 0,
        }
    }

    /// The dynamic shared memory of a tile of keys and one of values, where kernels of attention have two; 0 for all
    /// else.
    pub const fn stage_bytes(self) -> u32 {
        match self {
            Kernel::Attention(_, _, width) => 2 * self.keys() * width as u32 * 2,
            _ => 0,
        }
    }

    /// Rows of queries that a block of attention takes; 0 for all else.
    pub const fn rows(self) -> u32 {
        match self {
            Kernel::Attention(_, tile, width) => {
                let (warps, rows) = warps(tile, width);
                warps * rows
            }
            Kernel::AttentionF32(Tile::Small, _) => 16,
            Kernel::AttentionF32(_, 256) => 32,
            Kernel::AttentionF32(..) => 64,
            _ => 0,
        }
    }

    /// Keys that a block of attention takes at a time; 0 for all else.
    pub const fn keys(self) -> u32 {
        match self {
            Kernel::Attention(_, _, 256) | Kernel::AttentionF32(_, 256) => 32,
            Kernel::Attention(..) | Kernel::AttentionF32(..) => 64,
            _ => 0,
        }
    }

    /// The threads of a block of a product or of attention; 256 for all else.
    pub const fn threads(self) -> u32 {
        let tile = match self {
            Kernel::Attention(_, tile, width) => return warps(tile, width).0 * 32,
            Kernel::Matmul(_, _, tile) => tile,
            Kernel::MatmulAny(_) => Tile::Small,
            Kernel::MatmulWgmma(_, _, Tile::Square) => return 512,
            Kernel::MatmulWgmma(..) | Kernel::MatmulGrouped(..) => return 384,
            // A warpgroup for each 64 rows, and a warp that brings the operands.
            Kernel::MatmulParts(..) => return self.extent().0 / 64 * 128 + 32,
            Kernel::MatmulF32(..) => return 128,
            Kernel::MatmulThin(_, thin) => return thin.warps() * 32,
            Kernel::MatmulAcross(_, across) => return across.warps() * 32,
            _ => return 256,
        };
        let ((m, n), (warp_m, warp_n)) = (tile.extent(), tile.warp());
        m / warp_m * (n / warp_n) * 32
    }
}

/// Warpgroups that share a tile of `matmul_wgmma.cu` or `matmul_grouped.cu`. Those of smaller tiles have one each, in turn.
pub(super) const fn team(tile: Tile) -> u32 {
    match tile {
        Tile::Square => 3,
        Tile::Large | Tile::N224 | Tile::Broad | Tile::N176 => 2,
        _ => 1,
    }
}

/// Stages of `matmul_wgmma.cu` and `matmul_grouped.cu`: as many as there is room for.
pub(super) const fn stages(tile: Tile) -> u32 {
    match tile {
        Tile::Large | Tile::N224 | Tile::Broad | Tile::N176 | Tile::Turns | Tile::Square => 4,
        Tile::Medium => 5,
        Tile::Small => 8,
        Tile::Tiny => 10,
    }
}

/// Warps of a block of attention on tensor cores, and the rows of each.
pub(super) const fn warps(tile: Tile, width: usize) -> (u32, u32) {
    match (tile, width) {
        // To rows of 32, for which the unit of exp2 is the limit, 32 rows a warp bring nothing.
        (Tile::Large, 32) => (4, 16),
        (Tile::Large, _) => (4, 32),
        (Tile::Medium, 32) => (2, 16),
        (Tile::Medium, _) => (4, 16),
        _ => (1, 16),
    }
}

/// Blocks of attention that share a multiprocessor: as many as their registers allow.
pub(super) const fn blocks(tile: Tile, width: usize) -> u32 {
    match (tile, width) {
        (Tile::Large, 32) => 5,
        (Tile::Large, _) => 2,
        (Tile::Medium, 32) => 10,
        (Tile::Medium, 64) => 4,
        (Tile::Medium, 128) => 2,
        (Tile::Medium, _) => 1,
        (Tile::Small, 32 | 64) => 16,
        _ => 8,
    }
}
