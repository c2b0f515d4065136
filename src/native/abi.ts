/**
 * Constants and struct layouts of the Linux ABI, LP64, little endian, x86-64 and arm64.
 * Each is compared with the system's own headers by test/native/abi.test.ts.
 */

export type Arch = 'x64' | 'arm64'

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EEXIST: 17,
  EINVAL: 22,
  EMFILE: 24,
  ENOSPC: 28,
  EPIPE: 32,
  ENOSYS: 38,
  EPROTOTYPE: 91,
  EADDRINUSE: 98,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EINPROGRESS: 115,
} as const

const ERRNO_NAMES = new Map(Object.entries(ERRNO).map(([name, value]) => [value as number, name]))
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `E${errno}`
}

export const OPEN = { RDONLY: 0, RDWR: 2, CLOEXEC: 0x80000, NONBLOCK: 0x800 } as const
export const SEEK = { DATA: 3, HOLE: 4 } as const
export const FCNTL = { GETFL: 3, SETFL: 4, ADD_SEALS: 1033, GET_SEALS: 1034 } as const
export const SEAL = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8, FUTURE_WRITE: 16 } as const
export const MFD = { CLOEXEC: 1, ALLOW_SEALING: 2, HUGETLB: 4, HUGE_2MB: (21 << 26) >>> 0 } as const
export const PROT = { NONE: 0, READ: 1, WRITE: 2 } as const
export const MAP = {
  SHARED: 1,
  PRIVATE: 2,
  FIXED: 0x10,
  ANONYMOUS: 0x20,
  NORESERVE: 0x4000,
  POPULATE: 0x8000,
  HUGETLB: 0x40000,
  HUGE_2MB: (21 << 26) >>> 0,
} as const
export const MAP_FAILED = -1
export const MADV = {
  NORMAL: 0,
  RANDOM: 1,
  SEQUENTIAL: 2,
  WILLNEED: 3,
  DONTNEED: 4,
  HUGEPAGE: 14,
  NOHUGEPAGE: 15,
  POPULATE_READ: 22,
  POPULATE_WRITE: 23,
} as const

export const POLL = { IN: 1, OUT: 4, ERR: 8, HUP: 16, NVAL: 32, RDHUP: 0x2000 } as const
/** struct pollfd { int fd; short events; short revents } */
export const POLLFD_BYTES = 8

export const AF = { UNIX: 1, INET: 2, INET6: 10 } as const
export const SOCK = { STREAM: 1, NONBLOCK: 0x800, CLOEXEC: 0x80000 } as const
export const SOL_SOCKET = 1
export const SO = {
  REUSEADDR: 2,
  ERROR: 4,
  SNDBUF: 7,
  RCVBUF: 8,
  KEEPALIVE: 9,
  PRIORITY: 12,
  PEERCRED: 17,
  TIMESTAMPNS: 35,
  BUSY_POLL: 46,
  MAX_PACING_RATE: 47,
} as const
export const IPPROTO_IP = 0
export const IP_TOS = 1
export const IPPROTO_TCP = 6
export const TCP = {
  NODELAY: 1,
  MAXSEG: 2,
  QUICKACK: 12,
  USER_TIMEOUT: 18,
  NOTSENT_LOWAT: 25,
  INFO: 11,
  CONGESTION: 13,
} as const
export const SCM_RIGHTS = 1
/** Descriptors that one message can carry: SCM_MAX_FD of the kernel, in no header. */
export const SCM_FDS_MAX = 253
/** struct sockaddr_un { sa_family_t family; char path[108] } */
export const SOCKADDR_UN = { BYTES: 110, PATH: 2, PATH_BYTES: 108 } as const
/** struct ucred { pid_t pid; uid_t uid; gid_t gid } */
export const UCRED_BYTES = 12
export const MSG = {
  PEEK: 2,
  DONTWAIT: 0x40,
  NOSIGNAL: 0x4000,
  CMSG_CLOEXEC: 0x40000000,
  TRUNC: 0x20,
  CTRUNC: 8,
} as const
/** struct msghdr: name u64, namelen u32 (+pad), iov u64, iovlen u64, control u64, controllen u64, flags i32 (+pad) */
export const MSGHDR = {
  BYTES: 56,
  NAME: 0,
  NAMELEN: 8,
  IOV: 16,
  IOVLEN: 24,
  CONTROL: 32,
  CONTROLLEN: 40,
  FLAGS: 48,
} as const
/** struct cmsghdr: len u64, level i32, type i32, then data, padded to 8 */
export const CMSGHDR_BYTES = 16
export const CLOCK_REALTIME = 0
export const PR_SET_NAME = 15
export const PR_SET_TIMERSLACK = 29

export const EFD = { CLOEXEC: 0x80000, NONBLOCK: 0x800 } as const

export const SYS: Record<
  Arch,
  { userfaultfd: number; pidfd_open: number; sched_setattr: number; futex: number }
> = {
  x64: { userfaultfd: 323, pidfd_open: 434, sched_setattr: 314, futex: 202 },
  arm64: { userfaultfd: 282, pidfd_open: 434, sched_setattr: 274, futex: 98 },
}

export const SCHED = { OTHER: 0, FIFO: 1, BATCH: 3, IDLE: 5 } as const
export const SCHED_FLAG = { RESET_ON_FORK: 1 } as const
/** struct sched_attr, first version: size u32, policy u32, flags u64, nice i32, priority u32, runtime, deadline, period u64 */
export const SCHED_ATTR_BYTES = 48

/** Kernel document: Documentation/admin-guide/mm/userfaultfd.rst; numbers from include/uapi/linux/userfaultfd.h. */
export const UFFD = {
  API: 0xaa,
  USER_MODE_ONLY: 1,
  EVENT_PAGEFAULT: 0x12,
  EVENT_FORK: 0x13,
  EVENT_REMAP: 0x14,
  EVENT_REMOVE: 0x15,
  EVENT_UNMAP: 0x16,
  FEATURE_EVENT_REMOVE: 1 << 3,
  FEATURE_MISSING_HUGETLBFS: 1 << 4,
  FEATURE_MISSING_SHMEM: 1 << 5,
  FEATURE_THREAD_ID: 1 << 8,
  REGISTER_MODE_MISSING: 1,
  PAGEFAULT_FLAG_WRITE: 1,
  /** struct uffd_msg: event u8 at 0; pagefault flags u64 at 8, address u64 at 16, thread id u32 at 24; remove start 8, end 16 */
  MSG_BYTES: 32,
} as const
export const UFFDIO = {
  API: 0xc018aa3f,
  REGISTER: 0xc020aa00,
  UNREGISTER: 0x8010aa01,
  WAKE: 0x8010aa02,
  COPY: 0xc028aa03,
  ZEROPAGE: 0xc020aa04,
  CONTINUE: 0xc020aa07,
  /** ioctl on /dev/userfaultfd that makes a userfaultfd (Linux 6.1). */
  DEV_NEW: 0xaa00,
} as const
