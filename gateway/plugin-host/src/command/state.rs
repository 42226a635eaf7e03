//! The state behind the functions of a command: its input, its output, and random bytes.

use bytes::Buf as _;
use bytes::Bytes;

use super::CommandOutput;
use crate::limiter::GrowthLimiter;

/// Maximum bytes of standard error that are kept.
const MAX_STDERR_BYTES: usize = 8 << 10;

/// Begin of the random bytes.
const SEED: u64 = 0x5eed_0f7a_11ed_0001;

/// Why a function of a command traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandFault {
    /// `proc_exit`.
    #[error("proc_exit with code {0}")]
    Exit(u32),
    /// Standard output is full.
    #[error("standard output is full")]
    Output,
    /// An address is outside of the guest's memory.
    #[error("a host function was given memory outside of the guest's")]
    Memory,
}

/// The state behind the functions of one call.
pub(super) struct CommandState {
    stdin: Bytes,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    max_output: usize,
    random: u64,
    pub(super) limiter: GrowthLimiter,
}

impl CommandState {
    pub(super) fn new(stdin: Bytes, max_output: usize, limiter: GrowthLimiter) -> Self {
        Self { stdin, stdout: Vec::new(), stderr: Vec::new(), max_output, random: SEED, limiter }
    }

    /// Fills a buffer from standard input. Returns the number of bytes; 0 at the end of the input.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.stdin.len());
        if let Some(buffer) = buffer.get_mut(..len) {
            self.stdin.copy_to_slice(buffer);
        }
        len
    }

    /// Adds to standard output.
    ///
    /// # Errors
    /// [`CommandFault::Output`] if it would have too many bytes.
    pub(super) fn write_output(&mut self, bytes: &[u8]) -> Result<(), CommandFault> {
        if bytes.len() > self.max_output.saturating_sub(self.stdout.len()) {
            return Err(CommandFault::Output);
        }
        self.stdout.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds to standard error. What is too much is dropped.
    pub(super) fn write_error(&mut self, bytes: &[u8]) {
        let space = MAX_STDERR_BYTES.saturating_sub(self.stderr.len());
        self.stderr.extend_from_slice(bytes.get(..space).unwrap_or(bytes));
    }

    /// Fills a buffer with the next random bytes (SplitMix64).
    pub(super) fn fill_random(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(size_of::<u64>()) {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut value = self.random;
            value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let bytes = (value ^ (value >> 31)).to_le_bytes();
            chunk.iter_mut().zip(bytes).for_each(|(byte, random)| *byte = random);
        }
    }

    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub(super) fn into_output(self, memory: usize) -> CommandOutput {
        let stderr = self.stderr();
        CommandOutput { stdout: self.stdout, stderr, memory }
    }
}
