//! One pinned thread per core: the only caller of the kernel, the only place where protocol meets it.
