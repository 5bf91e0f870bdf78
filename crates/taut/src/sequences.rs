//! Sequences of varying length, one after the other.

use crate::{Device, Tensor};
use taut_core::{Error, Result};

/// Where sequences of varying length begin and end that lie one after the other, without padding, along the first axis
/// of a tensor: on the device for kernels, and what decisions need on the host.
#[derive(Clone, Debug)]
pub struct Sequences {
    bounds: Tensor,
    count: usize,
    longest: usize,
    tokens: usize,
}

impl Sequences {
    /// Sequences of these lengths, which may be 0. On the device 4 bytes for each, and 4 more.
    ///
    /// ```
    /// use taut::{Device, Sequences};
    /// let sequences = Sequences::new(&[3, 0, 5], &Device::cpu())?;
    /// assert_eq!((sequences.count(), sequences.tokens(), sequences.longest()), (3, 8, 5));
    /// assert_eq!(sequences.bounds().to_vec::<u32>()?, [0, 3, 3, 8]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if they have more than 2^32 - 1 elements together,
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the memory or the budget is exhausted.
    pub fn new(lengths: &[usize], device: &Device) -> Result<Sequences> {
        let mut bounds = vec![0];
        let mut end = 0u32;
        for &length in lengths {
            let next = u32::try_from(length).ok().and_then(|length| end.checked_add(length));
            end = next.ok_or_else(|| Error::shape("sequences: more than 2^32 - 1 elements together"))?;
            bounds.push(end);
        }
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let tensor = Tensor::from_slice(&bounds, [bounds.len()], device)?;
        Ok(Sequences { bounds: tensor, count: lengths.len(), longest, tokens: end as usize })
    }

    /// The number of sequences.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The length of the longest, 0 if there is none.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The length of all together.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Where each begins, and the end of the last: u32, `[count + 1]`.
    pub fn bounds(&self) -> &Tensor {
        &self.bounds
    }
}
