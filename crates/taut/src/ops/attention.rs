//! Attention over batches and over packed sequences.

use crate::{
    Sequences, Tensor, cpu,
    device::DeviceKind,
    grad::refuse,
    tensor::{View, ViewMut},
};
use taut_core::{Attention, Error, ErrorKind, Layout, Result, Shape};
use taut_cuda::launch::{
    self,
    attention::{LONGEST, Packed, Scores, WIDEST},
};
use taut_memory::{Kind, Site};

impl Tensor {
    /// Attention (Vaswani et al., 2017): `softmax(scale q k^T) v` for each head of each sequence, in one kernel that
    /// never stores a score (Dao, 2023). `self` is `q`: `[batch, heads, len, dim]`, `k` and `v` are `[batch, kv_heads,
    /// kv_len, dim]`, and so is the result as `q`. `heads` is a multiple of `kv_heads`: neighbouring heads of queries
    /// share those of keys. Floats; rows of at most 256 elements.
    ///
    /// Any strides are read where they lie. Rows that are contiguous, begin on 16 bytes and are a multiple of them are
    /// fast. Reuses the memory of `q` when no one else holds it and it is contiguous, or would be with heads and
    /// rows exchanged: then not a byte is needed.
    ///
    /// Scores and sums are f32 (f64 for f64) and rounded once; f16 and bf16 weights are rounded to the dtype before
    /// they meet the values. NaN or infinity in a score makes the row NaN; in a value they reach its column, in the
    /// rows that see it. A score of -infinity counts for nothing; a row that sees no key, or none with a larger score,
    /// is 0.
    ///
    /// Backward keeps `q`, `k`, `v`, the output, and the log-sum-exp of each row: 4 bytes a row beside them.
    ///
    /// ```
    /// use taut::{Attention, DType, Device, Tensor};
    /// let device = Device::cpu();
    /// let k = Tensor::zeros([1, 2, 3, 8], DType::F32, &device)?;
    /// let v = Tensor::arange(0.0, 48.0, 1.0, DType::F32, &device)?.reshape([1, 2, 3, 8])?;
    /// // Equal scores: the mean of the values that a query sees.
    /// let q = Tensor::full([1, 4, 3, 8], 7.0, DType::F32, &device)?;
    /// let y = q.attention(&k, &v, Attention { causal: true, ..Attention::default() })?;
    /// assert_eq!(y.slice(3, 0..1)?.to_vec::<f32>()?[..6], [0.0, 4.0, 8.0, 0.0, 4.0, 8.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes do not fit together, a row is longer than 256, or a sequence
    /// has 2^31 rows; [`DType`](crate::ErrorKind::DType) for integers, bool or different dtypes;
    /// [`Value`](crate::ErrorKind::Value) for a scale that is not a positive number;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn attention(self, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
        check("attention", &self, k, v, options)?;
        let layouts = [*self.layout(), *k.layout(), *v.layout()];
        let (&[batch, _, len, _], &[kv_batch, _, kv_len, _]) = (&self.shape()[..], &k.shape()[..]) else {
            return Err(misfit("attention", [&self, k, v], "must be [batch, heads, len, dim]"));
        };
        if batch != kv_batch {
            return Err(misfit("attention", [&self, k, v], "the batches differ"));
        }
        check_heads("attention", [&self, k, v], [1, 3], len.max(kv_len))?;
        attend("attention", self, k, v, layouts, options, None)
    }

    /// [`attention`](Self::attention) of sequences of varying length that lie one after the other, without padding:
    /// each query sees the keys of its own sequence only. `self` is `q`: `[tokens, heads, dim]`, `k` and `v` are
    /// `[tokens, kv_heads, dim]`. All three may be parts of one tensor `[tokens, 3 * heads * dim]`, as one product
    /// makes them.
    ///
    /// Backward keeps `q`, `k`, `v`, the output, and the log-sum-exp of each row: 4 bytes a row beside them.
    ///
    /// ```
    /// use taut::{Attention, DType, Device, Sequences, Tensor};
    /// let device = Device::cpu();
    /// let sequences = Sequences::new(&[1, 2], &device)?;
    /// let qkv = Tensor::arange(0.0, 72.0, 1.0, DType::F32, &device)?.reshape([3, 3, 1, 8])?;
    /// let part = |i| qkv.clone().slice(1, i..i + 1)?.reshape([3, 1, 8]);
    /// let y = part(0)?.attention_packed(&part(1)?, &part(2)?, &sequences, Attention::default())?;
    /// // A sequence of one gets its own value; with keys as large as these, the largest takes all.
    /// assert_eq!(y.slice(2, 0..1)?.to_vec::<f32>()?, [16.0, 64.0, 64.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`attention`](Self::attention); [`Shape`](crate::ErrorKind::Shape) if the sequences do not have as many
    /// tokens.
    pub fn attention_packed(
        self,
        k: &Tensor,
        v: &Tensor,
        sequences: &Sequences,
        options: Attention,
    ) -> Result<Tensor> {
        let op = "attention_packed";
        check(op, &self, k, v, options)?;
        self.same_device(sequences.bounds(), op)?;
        let (&[tokens, ..], &[kv_tokens, ..], 3) = (&self.shape()[..], &k.shape()[..], self.rank()) else {
            return Err(misfit(op, [&self, k, v], "must be [tokens, heads, dim]"));
        };
        if tokens != sequences.tokens() || kv_tokens != tokens {
            let why = format!("the sequences have {} tokens", sequences.tokens());
            return Err(misfit(op, [&self, k, v], &why));
        }
        check_heads(op, [&self, k, v], [1, 2], sequences.longest())?;
        let [q_layout, k_layout, v_layout] = [&self, k, v].map(|x| as_batch(x.layout()));
        attend(op, self, k, v, [q_layout?, k_layout?, v_layout?], options, Some(sequences))
    }
}

/// What both ops ask of their operands, whatever their axes are.
fn check(op: &str, q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<()> {
    refuse(op, &[q, k, v])?;
    for other in [k, v] {
        q.same_device(other, op)?;
        q.same_dtype(other, op)?;
    }
    if !q.dtype().is_float() {
        return Err(Error::dtype(format!("{op}: does not take {}", q.dtype())));
    }
    if q.rank() != k.rank() || k.shape() != v.shape() {
        return Err(misfit(op, [q, k, v], "k and v must have one shape, and as many axes as q"));
    }
    // Kernels compute in powers of 2, with a factor that they take for a normal number.
    if let Some(scale) =
        options.scale.filter(|scale| !(scale * std::f32::consts::LOG2_E).is_normal() || *scale < 0.0)
    {
        return Err(Error::new(
            ErrorKind::Value,
            format!("{op}: a scale of {scale}, it must be a positive number"),
        ));
    }
    Ok(())
}

/// That heads and rows, the axes `[heads, dim]`, fit together, and that kernels can count the rows of a sequence.
fn check_heads(op: &str, operands: [&Tensor; 3], [heads, dim]: [usize; 2], longest: usize) -> Result<()> {
    let [q, k, _] = operands.map(Tensor::shape);
    if q[dim] != k[dim] || q[dim] > WIDEST {
        return Err(misfit(op, operands, &format!("rows must have one length, at most {WIDEST}")));
    }
    let group = q[heads].checked_div(k[heads]).unwrap_or(0);
    if group * k[heads] != q[heads] {
        return Err(misfit(op, operands, "the heads of q must be a multiple of those of k"));
    }
    if group.max(1).checked_mul(longest).is_none_or(|rows| rows > LONGEST) {
        return Err(misfit(op, operands, &format!("a sequence has more than {LONGEST} rows")));
    }
    Ok(())
}

fn misfit(op: &str, operands: [&Tensor; 3], why: &str) -> Error {
    let [q, k, v] = operands.map(Tensor::shape);
    Error::shape(format!("{op}: q {q}, k {k} and v {v}: {why}"))
}

/// `[tokens, heads, dim]` as `[1, heads, tokens, dim]`.
fn as_batch(layout: &Layout) -> Result<Layout> {
    let heads = layout.transposed(0, 1)?;
    heads.broadcast_to(Shape::new(&[&[1], &heads.shape()[..]].concat())?)
}

/// Over `q` where that loses nothing that someone needs, or else in new memory. Layouts are those of a batch.
fn attend(
    op: &'static str,
    mut q: Tensor,
    k: &Tensor,
    v: &Tensor,
    [q_layout, k_layout, v_layout]: [Layout; 3],
    options: Attention,
    sequences: Option<&Sequences>,
) -> Result<Tensor> {
    let [k, v] = [(k, &k_layout), (v, &v_layout)].map(|(x, layout)| Ok(x.view()?.through(layout)));
    let operands = Operands { k: k?, v: v?, sequences, options };
    // Sequence after sequence: packed ones have their heads inside of their rows.
    let in_order =
        q_layout.transposed(1, 2)?.flat().is_some() || sequences.is_none() && q_layout.flat().is_some();
    if in_order && q.is_reusable() {
        eval(operands, None, q.view_mut(op)?.through(&q_layout))?;
        return Ok(q);
    }
    let mut out = Tensor::allocate(*q.shape(), q.dtype(), q.device(), Site::new(op, Kind::Activations))?;
    let layout = if sequences.is_some() { as_batch(out.layout())? } else { *out.layout() };
    eval(operands, Some(q.view()?.through(&q_layout)), out.view_mut(op)?.through(&layout))?;
    Ok(out)
}

/// All but the queries.
struct Operands<'a> {
    k: View<'a>,
    v: View<'a>,
    sequences: Option<&'a Sequences>,
    options: Attention,
}

/// Where the device is chosen, once for the family. Without `q`, it is what stands in `dst`.
fn eval(operands: Operands<'_>, q: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    let Operands { k, v, sequences, options } = operands;
    let bounds = sequences.map(|sequences| sequences.bounds().view()).transpose()?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    match dst.storage.device().kind() {
        DeviceKind::Cpu => {
            cpu::attention::attention(options, cpu::attention::Operands { q, k, v, bounds }, dst)
        }
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let source = q.map_or(Ok(target), |q| q.operand())?;
            let longest = sequences.map_or(0, Sequences::longest);
            let packed =
                bounds.map(|bounds| Ok(Packed { bounds: bounds.operand()?, longest })).transpose()?;
            let stream = gpu.stream(dst.storage.writer())?;
            let scores = Scores { scale: options.factor(dst.layout.shape()[3]), causal: options.causal };
            let operands = [source, k.operand()?, v.operand()?, target];
            launch::attention::attention(&stream, scores, operands, packed)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
