//! Memory that will be read soon, fetched while something else is done.

/// Asks the processor for the line of memory that `what` begins in (64 bytes), and does not wait for it.
/// Changes nothing but the time that reading it takes; where there is no word for it, not even that.
#[inline]
pub fn prefetch<T: ?Sized>(what: &T) {
    let at: *const T = what;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees, whatever it points to.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: as above.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at.cast::<u8>(),
                options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
