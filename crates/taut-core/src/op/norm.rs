/// What rows are scaled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// `(x - mean) / sqrt(variance + eps)`.
    Layer,
    /// `x / sqrt(mean of squares + eps)`.
    Rms,
    /// `x / max(norm, eps)`.
    L2,
    /// [`Layer`](Self::Layer) of a sum, which is a second result.
    AddLayer,
    /// [`Rms`](Self::Rms) of a sum, which is a second result.
    AddRms,
}

impl Norm {
    /// Every op; `ALL[op as usize] == op`.
    pub const ALL: [Norm; 5] = [Norm::Layer, Norm::Rms, Norm::L2, Norm::AddLayer, Norm::AddRms];

    /// The name of the method and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Norm::Layer => "layer_norm",
            Norm::Rms => "rms_norm",
            Norm::L2 => "l2_normalize",
            Norm::AddLayer => "add_layer_norm",
            Norm::AddRms => "add_rms_norm",
        }
    }

    /// The functor in CUDA, and whether it is of a sum.
    pub const fn functor(self) -> &'static str {
        match self {
            Norm::Layer => "Layer, false",
            Norm::Rms => "Rms, false",
            Norm::L2 => "L2, false",
            Norm::AddLayer => "Layer, true",
            Norm::AddRms => "Rms, true",
        }
    }

    /// The op of rows that is in it: of a sum, that of the sum.
    pub const fn of_rows(self) -> Norm {
        match self {
            Norm::Layer | Norm::AddLayer => Norm::Layer,
            Norm::Rms | Norm::AddRms => Norm::Rms,
            Norm::L2 => Norm::L2,
        }
    }

    /// The functor of [`of_rows`](Self::of_rows) in CUDA.
    pub const fn kind(self) -> &'static str {
        match self.of_rows() {
            Norm::Layer => "Layer",
            Norm::Rms => "Rms",
            _ => "L2",
        }
    }

    /// Operands of the size of the result.
    pub const fn streams(self) -> usize {
        if matches!(self, Norm::AddLayer | Norm::AddRms) { 2 } else { 1 }
    }
}
