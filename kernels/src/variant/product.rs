//! How products cut their work, and attention with them.

use taut_core::DType;

/// The axis along which an operand of a product is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Major {
    /// The one that is summed over.
    K,
    /// The other: `m` of the first operand, `n` of the second.
    Outer,
}

impl Major {
    /// Both; `ALL[major as usize] == major`.
    pub const ALL: [Major; 2] = [Major::K, Major::Outer];

    /// Those of two operands.
    pub const PAIRS: [[Major; 2]; 4] = [
        [Major::K, Major::K],
        [Major::K, Major::Outer],
        [Major::Outer, Major::K],
        [Major::Outer, Major::Outer],
    ];
}

/// How an operand of `matmul_f32.cu` comes to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Copies {
    /// 4 neighbours along the axis that is not `k`, from 16 bytes on.
    Packs,
    /// Single elements, contiguous along `k`.
    Rows,
    /// Single elements, with any strides.
    Any,
}

impl Copies {
    /// Those of two operands that kernels are made for.
    pub const PAIRS: [[Copies; 2]; 5] = [
        [Copies::Packs, Copies::Packs],
        [Copies::Packs, Copies::Rows],
        [Copies::Rows, Copies::Packs],
        [Copies::Rows, Copies::Rows],
        [Copies::Any, Copies::Any],
    ];
}

/// Elements of a row that kernels of attention are made for; shorter rows are filled up with zeros.
pub const WIDTHS: [usize; 4] = [32, 64, 128, 256];

/// The part of a product, or of the queries of attention, that a block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// For what fills the card.
    Large,
    /// In between.
    Medium,
    /// For what is small.
    Small,
    /// Between the largest two, for rows of so many columns that neither divides them: of `matmul_wgmma.cu` only, where
    /// operands have 16 bits.
    Broad,
    /// For so little that [`Tile::Small`] leaves most of the card idle: likewise.
    Tiny,
    /// 128 x 224: this and the next where such widths leave less of the card idle in the last round; likewise, and only where the
    /// second operand lies along `k`.
    N224,
    /// 128 x 176.
    N176,
    /// 128 x 192, with a warpgroup for each: one stores while the other multiplies. In the place of [`Tile::Broad`] where there
    /// are more tiles than the card takes at a time, and nothing to do to results but bias, relu and gelu; only where the first
    /// operand lies along `k`.
    Turns,
    /// 192 x 192, of three warpgroups, where such tiles leave less of the card idle: of `matmul_wgmma.cu` only, where operands
    /// have 16 bits. Some of what there may be to do to results is left to [`Tile::Broad`].
    Square,
}

impl Tile {
    /// Those of all kernels of tiles; `ALL[tile as usize] == tile`.
    pub const ALL: [Tile; 3] = [Tile::Large, Tile::Medium, Tile::Small];

    /// Those of `matmul_wgmma.cu` for such operands.
    pub fn of_wgmma(dtype: DType, majors: [Major; 2]) -> impl Iterator<Item = Tile> {
        let halves = (dtype != DType::F32).then_some([Tile::Broad, Tile::Tiny]);
        let square = (dtype != DType::F32).then_some(Tile::Square);
        let along_k = (dtype != DType::F32 && majors[1] == Major::K).then_some([Tile::N224, Tile::N176]);
        Tile::ALL.into_iter().chain(halves.into_iter().chain(along_k).flatten()).chain(square)
    }

    /// Rows and columns of the output of a product.
    pub const fn extent(self) -> (u32, u32) {
        match self {
            Tile::Large => (128, 256),
            Tile::N224 => (128, 224),
            Tile::Broad | Tile::Turns => (128, 192),
            Tile::N176 => (128, 176),
            Tile::Square => (192, 192),
            Tile::Medium => (128, 128),
            Tile::Small | Tile::Tiny => (64, 64),
        }
    }

    /// Rows and columns of a warp, with 16-bit operands.
    pub(crate) const fn warp(self) -> (u32, u32) {
        if matches!(self, Tile::Small | Tile::Tiny) { (32, 32) } else { (64, 64) }
    }

    /// Blocks that share a multiprocessor.
    pub const fn blocks(self) -> u32 {
        match self {
            Tile::Large | Tile::N224 | Tile::Broad | Tile::N176 | Tile::Turns | Tile::Square => 1,
            Tile::Medium => 2,
            Tile::Small | Tile::Tiny => 4,
        }
    }
}

/// The part of a product that a cluster of `matmul_parts.cu` computes, by its rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strip {
    /// 128 x 256.
    M128N256,
    /// 128 x 128.
    M128N128,
    /// 64 x 128.
    M64N128,
    /// 128 x 64.
    M128N64,
    /// 64 x 64.
    M64N64,
    /// 128 x 144: this and those below only where both operands have 16 bits and lie along `k`.
    M128N144,
    /// 128 x 112.
    M128N112,
    /// 128 x 96.
    M128N96,
    /// 64 x 112.
    M64N112,
    /// 64 x 96.
    M64N96,
    /// 64 x 32.
    M64N32,
    /// 128 x 128, and those below: of four blocks side by side, that share the first operand; only where the second one has 16
    /// bits and lies along its other axis.
    M128N128Across4,
    /// 128 x 96.
    M128N96Across4,
    /// 64 x 128.
    M64N128Across4,
    /// 64 x 96.
    M64N96Across4,
    /// 128 x 128, of two blocks below one another, that share the second operand; only where the first one has 16 bits and lies
    /// along its other axis.
    M128N128Down2,
    /// 64 x 64: likewise, of 16 bits however they lie.
    M64N64Down2,
    /// 64 x 128, of two blocks side by side, that share the first operand; of products in turned roles. In the place of
    /// [`Strip::M128N64`], where results are rounded and stored at once, with nothing more to do to them than bias and relu.
    M64N128Turned,
    /// 64 x 64, of two blocks side by side: as those of four.
    M64N64Across2,
    /// 64 x 96 likewise, where both operands have 16 bits and lie along `k`.
    M64N96Across2,
    /// 64 x 128 likewise, however both operands lie, and in so few stages that three blocks share a multiprocessor.
    M64N128Thrice,
    /// 128 x 192, of one block.
    M128N192,
    /// 64 x 256, of products in turned roles, whose second operand lies along its other axis: the blocks of a cluster have parts of
    /// `k`, and there are no shares.
    M64N256Turned,
}

impl Strip {
    /// Every one; `ALL[strip as usize] == strip`.
    pub const ALL: [Strip; 23] = [
        Strip::M128N256,
        Strip::M128N128,
        Strip::M64N128,
        Strip::M128N64,
        Strip::M64N64,
        Strip::M128N144,
        Strip::M128N112,
        Strip::M128N96,
        Strip::M64N112,
        Strip::M64N96,
        Strip::M64N32,
        Strip::M128N128Across4,
        Strip::M128N96Across4,
        Strip::M64N128Across4,
        Strip::M64N96Across4,
        Strip::M128N128Down2,
        Strip::M64N64Down2,
        Strip::M64N128Turned,
        Strip::M64N64Across2,
        Strip::M64N96Across2,
        Strip::M64N128Thrice,
        Strip::M128N192,
        Strip::M64N256Turned,
    ];

    /// Those for such operands, but for strips in turned roles.
    pub fn of(dtype: DType, majors: [Major; 2]) -> impl Iterator<Item = Strip> {
        let of_f32 = [Strip::M128N256, Strip::M128N128, Strip::M64N128];
        let exists = move |strip: &Strip| match dtype {
            DType::F32 => of_f32.contains(strip),
            _ => match (strip.shares(), strip) {
                (_, Strip::M64N128Turned | Strip::M64N256Turned) => false,
                ((1, 1), _) => majors == [Major::K; 2] || strip.extent().1.is_multiple_of(64),
                (_, Strip::M64N128Thrice) => true,
                (_, Strip::M64N96Across2) => majors == [Major::K; 2],
                ((_, 1), _) => majors[1] == Major::Outer,
                (_, Strip::M128N128Down2) => majors[0] == Major::Outer,
                _ => true,
            },
        };
        Strip::ALL.into_iter().filter(exists)
    }

    /// Rows and columns of the output of a product.
    pub const fn extent(self) -> (u32, u32) {
        match self {
            Strip::M128N256 => (128, 256),
            Strip::M128N192 => (128, 192),
            Strip::M64N256Turned => (64, 256),
            Strip::M128N128 | Strip::M128N128Across4 | Strip::M128N128Down2 => (128, 128),
            Strip::M64N128 | Strip::M64N128Across4 | Strip::M64N128Turned | Strip::M64N128Thrice => (64, 128),
            Strip::M128N64 => (128, 64),
            Strip::M64N64 | Strip::M64N64Down2 | Strip::M64N64Across2 => (64, 64),
            Strip::M128N144 => (128, 144),
            Strip::M128N112 => (128, 112),
            Strip::M128N96 | Strip::M128N96Across4 => (128, 96),
            Strip::M64N112 => (64, 112),
            Strip::M64N96 | Strip::M64N96Across4 | Strip::M64N96Across2 => (64, 96),
            Strip::M64N32 => (64, 32),
        }
    }

    /// Blocks of a cluster side by side that share the first operand, and those below one another that share the second.
    pub const fn shares(self) -> (u32, u32) {
        match self {
            Strip::M128N128Across4 | Strip::M128N96Across4 | Strip::M64N128Across4 | Strip::M64N96Across4 => {
                (4, 1)
            }
            Strip::M128N128Down2 | Strip::M64N64Down2 => (1, 2),
            Strip::M64N128Turned | Strip::M64N64Across2 | Strip::M64N96Across2 | Strip::M64N128Thrice => {
                (2, 1)
            }
            _ => (1, 1),
        }
    }

    /// Whether products have turned roles.
    pub const fn turned(self) -> bool {
        matches!(self, Strip::M64N128Turned | Strip::M64N256Turned)
    }

    /// Blocks that share a multiprocessor.
    pub const fn blocks(self) -> u32 {
        if matches!(self, Strip::M64N128Thrice) { 3 } else { 1 }
    }

    /// Stages of operands on their way.
    pub(crate) const fn stages(self) -> u32 {
        match self {
            Strip::M128N256 => 4,
            Strip::M128N128 | Strip::M128N192 | Strip::M64N256Turned => 5,
            Strip::M128N144 => 6,
            Strip::M128N112 | Strip::M128N96 => 7,
            Strip::M128N128Across4 | Strip::M128N128Down2 | Strip::M128N96Across4 => 7,
            // Of 64 rows by 4096 x 11,008, 10 stages took 26.7 us and 7 take 24.2; 8 and 5 are slower, too.
            Strip::M64N96Across4 => 7,
            Strip::M64N128 | Strip::M128N64 | Strip::M64N128Across4 => 8,
            Strip::M64N128Turned => 9,
            Strip::M64N64 | Strip::M64N112 | Strip::M64N96 | Strip::M64N96Across2 => 10,
            Strip::M64N32 | Strip::M64N64Down2 | Strip::M64N64Across2 => 12,
            Strip::M64N128Thrice => 3,
        }
    }
}

/// The part of a product of few rows or columns that a block of `matmul_thin.cu` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thin {
    /// Few rows, and as many blocks as can be.
    Tiny,
    /// Few rows; in between.
    Small,
    /// Few rows; in between.
    Medium,
    /// Few rows, which are read the least often.
    Wide,
    /// Some rows.
    Square,
    /// Few columns.
    Tall,
}

impl Thin {
    /// Every one; `ALL[thin as usize] == thin`.
    pub const ALL: [Thin; 6] = [Thin::Tiny, Thin::Small, Thin::Medium, Thin::Wide, Thin::Square, Thin::Tall];

    /// Rows and columns of the output.
    pub const fn extent(self) -> (u32, u32) {
        match self {
            Thin::Tiny => (16, 8),
            Thin::Small => (16, 16),
            Thin::Medium => (16, 32),
            Thin::Wide => (16, 64),
            Thin::Square => (32, 32),
            Thin::Tall => (64, 16),
        }
    }

    /// Warps that share `k`.
    pub const fn warps(self) -> u32 {
        if matches!(self, Thin::Tiny) { 16 } else { 8 }
    }

    /// Steps of a warp whose loads are on their way at once: as many as registers hold.
    pub const fn ahead(self) -> u32 {
        match self {
            Thin::Tiny | Thin::Square => 2,
            Thin::Small => 4,
            Thin::Medium => 3,
            Thin::Wide | Thin::Tall => 1,
        }
    }

    /// Blocks that share a multiprocessor.
    pub const fn blocks(self) -> u32 {
        2
    }
}

/// How a block of `matmul_across.cu` multiplies few rows by a strip of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Across {
    /// 8 rows, by 8 warps: of 16 bits.
    Large,
    /// 8 rows, by 4 warps.
    Small,
    /// One row of `f32`, by 4 warps.
    Single,
}

impl Across {
    /// Every one; `ALL[across as usize] == across`.
    pub const ALL: [Across; 3] = [Across::Large, Across::Small, Across::Single];

    /// Bytes of a row of a strip.
    pub const ROW_BYTES: u32 = 128;

    /// Stages of a warp that are on their way.
    pub(crate) const STAGES: u32 = 3;

    /// Those for elements of a dtype.
    pub fn of(dtype: DType) -> impl Iterator<Item = Across> {
        let other = if dtype == DType::F32 { Across::Large } else { Across::Single };
        Across::ALL.into_iter().filter(move |&across| across != other)
    }

    /// The most rows.
    pub const fn rows(self) -> u32 {
        if matches!(self, Across::Single) { 1 } else { 8 }
    }

    /// Warps that share `k`.
    pub(crate) const fn warps(self) -> u32 {
        if matches!(self, Across::Large) { 8 } else { 4 }
    }

    /// Blocks that share a multiprocessor: as many as its shared memory holds.
    pub const fn blocks(self, dtype: DType) -> u32 {
        match (self, dtype) {
            (Across::Large, _) => 2,
            (Across::Small, DType::F32) => 3,
            _ => 4,
        }
    }
}
