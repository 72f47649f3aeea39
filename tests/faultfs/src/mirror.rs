//! The filesystem itself: every call is passed to the folder behind, reads after their fate is told.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::control::{CONTROL, Command};
use crate::faults::{Fate, Faults};
use crate::hanging::Verb;
use crate::inodes::{CONTROL_INODE, Inodes, kind};

/// How long the kernel may believe a name or a stat: as libfuse has it.
const BELIEVED: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Mirror {
    inodes: Arc<Mutex<Inodes>>,
    faults: Arc<Faults>,
}

impl Mirror {
    pub(crate) fn new(source: &Path, faults: Arc<Faults>) -> io::Result<Mirror> {
        Ok(Mirror { inodes: Arc::new(Mutex::new(Inodes::new(source)?)), faults })
    }

    fn inodes(&self) -> MutexGuard<'_, Inodes> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self, commands: &[Command]) -> bool {
        let is_of_flushes = |command: &Command| {
            matches!(command, Command::DelayFlushes(_) | Command::Hang(Verb::Flush))
        };
        self.faults.flushes || !commands.iter().any(is_of_flushes)
    }

    /// Answers as soon as this verb does not hang.
    fn answer(&self, verb: Verb, answer: impl FnOnce(&Mirror) + Send + 'static) {
        let mirror = self.clone();
        self.faults.hanging.answer(verb, move || answer(&mirror));
    }

    fn read_file(&self, inode: u64, handle: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let (path, file) = {
            let inodes = self.inodes();
            (inodes.path(inode)?, inodes.file(handle).ok_or(Errno::EBADF)?)
        };
        let Fate { delay, outcome } = self.faults.on_read(&path, offset, u64::from(size));
        pause(delay);
        let length = outcome.map_err(Errno::from_i32)?;
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

#[expect(clippy::disallowed_methods, reason = "being slow is what this filesystem is for")]
fn pause(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}

fn control_attributes() -> FileAttr {
    FileAttr {
        ino: INodeNo(CONTROL_INODE),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: fuser::FileType::RegularFile,
        perm: 0o600,
        nlink: 1,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Mirror {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // As libfuse does: pages go when the file behind has another time or size.
        let _ = config.add_capabilities(InitFlags::FUSE_AUTO_INVAL_DATA);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == CONTROL {
            return reply.entry(&BELIEVED, &control_attributes(), Generation(0));
        }
        let name = name.to_owned();
        self.answer(Verb::Lookup, move |mirror| {
            pause(mirror.faults.stat_delay());
            let mut inodes = mirror.inodes();
            let found = inodes.path(parent.0).and_then(|folder| inodes.look_up(folder.join(name)));
            match found {
                Ok(attributes) => reply.entry(&BELIEVED, &attributes, Generation(0)),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if inode.0 == CONTROL_INODE {
            return reply.attr(&BELIEVED, &control_attributes());
        }
        self.answer(Verb::Getattr, move |mirror| {
            pause(mirror.faults.stat_delay());
            match mirror.inodes().stat(inode.0) {
                Ok(attributes) => reply.attr(&BELIEVED, &attributes),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // `echo ... > .faultfs` truncates it first.
        if inode.0 == CONTROL_INODE {
            return reply.attr(&BELIEVED, &control_attributes());
        }
        reply.error(Errno::EROFS);
    }

    fn mknod(
        &self,
        _: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        let inodes = self.inodes();
        match inodes.path(inode.0).and_then(|path| std::fs::read_link(inodes.source(&path))) {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if inode.0 == CONTROL_INODE {
            return reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        }
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        self.answer(Verb::Open, move |mirror| match mirror.inodes().open(inode.0) {
            Ok(handle) => {
                let flags = match mirror.faults.is_direct() {
                    true => FopenFlags::FOPEN_DIRECT_IO,
                    false => FopenFlags::FOPEN_KEEP_CACHE,
                };
                reply.opened(FileHandle(handle), flags);
            }
            Err(error) => reply.error(error.into()),
        });
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if inode.0 == CONTROL_INODE {
            let told = self.faults.told();
            let rest = told.as_bytes().get(offset as usize..).unwrap_or(&[]);
            return reply.data(rest.get(..size as usize).unwrap_or(rest));
        }
        self.answer(Verb::Read, move |mirror| {
            match mirror.read_file(inode.0, handle.0, offset, size) {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if inode.0 != CONTROL_INODE {
            return reply.error(Errno::EROFS);
        }
        let text = String::from_utf8_lossy(data);
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        match lines.map(str::parse).collect::<Result<Vec<Command>, _>>() {
            Ok(commands) if !self.takes(&commands) => reply.error(Errno::EOPNOTSUPP),
            Ok(commands) => {
                commands.into_iter().for_each(|command| self.faults.obey(command));
                reply.written(data.len() as u32);
            }
            Err(_) => reply.error(Errno::EINVAL),
        }
    }

    fn flush(
        &self,
        _: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        if !self.faults.flushes {
            // The kernel never asks again.
            return reply.error(Errno::ENOSYS);
        }
        if inode.0 == CONTROL_INODE {
            return reply.ok();
        }
        self.answer(Verb::Flush, move |mirror| {
            pause(mirror.faults.flush_delay());
            reply.ok();
        });
    }

    fn release(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.inodes().close(handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = {
            let inodes = self.inodes();
            inodes.path(inode.0).and_then(|path| std::fs::read_dir(inodes.source(&path)))
        };
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) => return reply.error(error.into()),
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for (number, entry) in (1_u64..).zip(entries).skip(offset as usize) {
            let Ok(metadata) = entry.metadata() else { continue };
            let is = kind(metadata.file_type());
            if reply.add(Inodes::number(&metadata), number, is, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}
