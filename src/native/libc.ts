/**
 * The C library through koffi: the only file that knows FFI. A call costs about 25 ns beside the system call
 * itself, so a TypeScript thread makes system calls at nearly C's price.
 *
 * Addresses are plain numbers: user space ends below 2^57, ours below 2^48, so they are exact. Addresses of
 * *another* process's memory are never passed as numbers; they go as two 32-bit halves inside a struct.
 * Every call is made on the caller's thread and may block it: whoever passes a timeout or a blocking file
 * descriptor bounds it.
 */
import { createRequire } from 'node:module'
import { arch as machine, platform as system } from 'node:os'
import { FaultlaneError } from '../errors.ts'
import { type Arch, errnoName } from './abi.ts'

type N = number
export interface Libc {
  readonly arch: Arch
  /** errno of this thread after a call that returned −1. */
  errno(): number
  open(path: string, flags: N, mode: N): N
  readlink(path: string, address: N, bytes: N): N
  close(fd: N): N
  unlink(path: string): N
  read(fd: N, address: N, bytes: N): N
  write(fd: N, address: N, bytes: N): N
  pread(fd: N, address: N, bytes: N, offset: N): N
  lseek(fd: N, offset: N, whence: N): N
  ftruncate(fd: N, bytes: N): N
  fcntl(fd: N, command: N, argument: N): N
  dup(fd: N): N
  memfd_create(name: string, flags: N): N
  pwritev(fd: N, vector: N, count: N, offset: N): N
  mmap(address: N, bytes: N, prot: N, flags: N, fd: N, offset: N): N
  munmap(address: N, bytes: N): N
  mprotect(address: N, bytes: N, prot: N): N
  madvise(address: N, bytes: N, advice: N): N
  mincore(address: N, bytes: N, present: N): N
  memcpy(to: N, from: N, bytes: N): N
  memcmp(a: N, b: N, bytes: N): N
  memset(address: N, byte: N, bytes: N): N
  socket(domain: N, type: N, protocol: N): N
  socketpair(domain: N, type: N, protocol: N, fds: N): N
  bind(fd: N, address: N, bytes: N): N
  listen(fd: N, backlog: N): N
  accept4(fd: N, address: N, length: N, flags: N): N
  connect(fd: N, address: N, bytes: N): N
  getsockname(fd: N, address: N, length: N): N
  getpeername(fd: N, address: N, length: N): N
  getsockopt(fd: N, level: N, option: N, value: N, length: N): N
  setsockopt(fd: N, level: N, option: N, value: N, length: N): N
  shutdown(fd: N, how: N): N
  send(fd: N, address: N, bytes: N, flags: N): N
  recv(fd: N, address: N, bytes: N, flags: N): N
  sendmsg(fd: N, message: N, flags: N): N
  recvmsg(fd: N, message: N, flags: N): N
  poll(fds: N, count: N, timeoutMs: N): N
  ppoll(fds: N, count: N, timeout: N, signals: N): N
  eventfd(initial: N, flags: N): N
  ioctl(fd: N, request: N, argument: N): N
  syscall3(number: N, a: N, b: N, c: N): N
  clock_gettime(clock: N, timespec: N): N
  pipe2(pair: N, flags: N): N
  sched_yield(): N
  sched_getcpu(): N
  sched_setaffinity(pid: N, bytes: N, mask: N): N
  sched_getaffinity(pid: N, bytes: N, mask: N): N
  gettid(): N
  getpid(): N
  geteuid(): N
  kill(pid: N, signal: N): N
  prctl(option: N, argument: N): N
}

const PROTOTYPES: Record<Exclude<keyof Libc, 'arch' | 'errno'>, string> = {
  open: 'int open(const char *, int, int)',
  readlink: 'int64_t readlink(const char *, uint64_t, uint64_t)',
  close: 'int close(int)',
  unlink: 'int unlink(const char *)',
  read: 'int read(int, uint64_t, uint64_t)',
  write: 'int write(int, uint64_t, uint64_t)',
  pread: 'int64_t pread(int, uint64_t, uint64_t, int64_t)',
  lseek: 'int64_t lseek(int, int64_t, int)',
  ftruncate: 'int ftruncate(int, int64_t)',
  fcntl: 'int fcntl(int, int, uint64_t)',
  dup: 'int dup(int)',
  memfd_create: 'int memfd_create(const char *, uint32_t)',
  pwritev: 'int64_t pwritev(int, uint64_t, int, int64_t)',
  mmap: 'int64_t mmap(uint64_t, uint64_t, int, int, int, int64_t)',
  munmap: 'int munmap(uint64_t, uint64_t)',
  mprotect: 'int mprotect(uint64_t, uint64_t, int)',
  madvise: 'int madvise(uint64_t, uint64_t, int)',
  mincore: 'int mincore(uint64_t, uint64_t, uint64_t)',
  memcpy: 'int64_t memcpy(uint64_t, uint64_t, uint64_t)',
  memcmp: 'int memcmp(uint64_t, uint64_t, uint64_t)',
  memset: 'int64_t memset(uint64_t, int, uint64_t)',
  socket: 'int socket(int, int, int)',
  socketpair: 'int socketpair(int, int, int, uint64_t)',
  bind: 'int bind(int, uint64_t, uint32_t)',
  listen: 'int listen(int, int)',
  accept4: 'int accept4(int, uint64_t, uint64_t, int)',
  connect: 'int connect(int, uint64_t, uint32_t)',
  getsockname: 'int getsockname(int, uint64_t, uint64_t)',
  getpeername: 'int getpeername(int, uint64_t, uint64_t)',
  getsockopt: 'int getsockopt(int, int, int, uint64_t, uint64_t)',
  setsockopt: 'int setsockopt(int, int, int, uint64_t, uint32_t)',
  shutdown: 'int shutdown(int, int)',
  send: 'int send(int, uint64_t, uint64_t, int)',
  recv: 'int recv(int, uint64_t, uint64_t, int)',
  sendmsg: 'int sendmsg(int, uint64_t, int)',
  recvmsg: 'int recvmsg(int, uint64_t, int)',
  poll: 'int poll(uint64_t, uint64_t, int)',
  ppoll: 'int ppoll(uint64_t, uint64_t, uint64_t, uint64_t)',
  eventfd: 'int eventfd(uint32_t, int)',
  ioctl: 'int ioctl(int, uint64_t, uint64_t)',
  syscall3: 'int64_t syscall(int64_t, uint64_t, uint64_t, uint64_t)',
  clock_gettime: 'int clock_gettime(int, uint64_t)',
  pipe2: 'int pipe2(uint64_t, int)',
  sched_yield: 'int sched_yield()',
  sched_getcpu: 'int sched_getcpu()',
  sched_setaffinity: 'int sched_setaffinity(int, uint64_t, uint64_t)',
  sched_getaffinity: 'int sched_getaffinity(int, uint64_t, uint64_t)',
  gettid: 'int gettid()',
  getpid: 'int getpid()',
  geteuid: 'int geteuid()',
  kill: 'int kill(int, int)',
  prctl: 'int prctl(int, uint64_t)',
}

let loaded: Libc | undefined
type Koffi = typeof import('koffi')
let koffi: Koffi | undefined

function loadKoffi(): Koffi {
  if (koffi) return koffi
  try {
    // Loaded on first use: without a prebuilt koffi for this platform the rest of Faultlane still loads.
    koffi = createRequire(import.meta.url)('koffi') as Koffi
    return koffi
  } catch (cause) {
    throw new FaultlaneError(
      {
        code: 'NATIVE_UNAVAILABLE',
        what: 'the foreign function interface (koffi)',
        reason: String((cause as Error).message),
      },
      { cause },
    )
  }
}

/** This thread's C library. Throws NATIVE_UNAVAILABLE on anything but 64-bit Linux. */
export function libc(): Libc {
  if (loaded) return loaded
  const platform = system()
  const arch = machine()
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    throw new FaultlaneError({
      code: 'NATIVE_UNAVAILABLE',
      what: 'the Linux system call interface',
      reason: `this is ${platform} on ${arch}, and Linux on x64 or arm64 is needed`,
    })
  }
  const ffi = loadKoffi()
  const library = ffi.load(null)
  // errno is thread-local and its address constant: a typed-array load instead of one more call.
  const errnoWord = new Int32Array(ffi.view(library.func('int *__errno_location()')(), 4))
  const calls: Record<string, unknown> = { arch, errno: () => errnoWord[0] }
  for (const [name, prototype] of Object.entries(PROTOTYPES)) calls[name] = library.func(prototype)
  loaded = calls as unknown as Libc
  return loaded
}

/** Address of a typed array's first byte. Stable for SharedArrayBuffers and koffi views; not for small on-heap arrays. */
export function addressOf(array: NodeJS.TypedArray): number {
  return Number(loadKoffi().address(array))
}

/** Our own mapped memory as an ArrayBuffer; valid until it is unmapped, and never touched after. */
export function viewOf(address: number, bytes: number): ArrayBuffer {
  return loadKoffi().view(BigInt(address), bytes)
}

/** The error of the call that has just failed on this thread. */
export function systemError(call: string, about: string, errno = libc().errno()): FaultlaneError {
  return new FaultlaneError({ code: 'SYSTEM', call, errno, name: errnoName(errno), about })
}

/** The result, or the call's error thrown. For control paths; the hot path looks at the number. */
export function check(result: number, call: string, about: string): number {
  if (result === -1) throw systemError(call, about)
  return result
}
