/**
 * Makes a userfaultfd, the way this kernel allows: /dev/userfaultfd, the system call, or user-mode only
 * (faults of the kernel itself, e.g. a read(2) into missing memory, then fail with EFAULT instead of waiting).
 */
import { FaultlaneError } from '../errors.ts'
import { errnoName, OPEN, SYS, UFFD, UFFDIO } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { libc, systemError } from '../native/libc.ts'

export interface OpenedUserfaultfd {
  readonly fd: number
  readonly how: 'device' | 'syscall' | 'user-mode-only'
}

export const USERFAULTFD_REMEDIES = [
  'run as root or with CAP_SYS_PTRACE',
  'give this user read and write access to /dev/userfaultfd (Linux 6.1 and later)',
  'sysctl vm.unprivileged_userfaultfd=1',
] as const

/** Opens and initialises one. Throws NO_USERFAULTFD with the remedies. */
export function openUserfaultfd(
  features = UFFD.FEATURE_EVENT_REMOVE,
  userModeOnly = false,
): OpenedUserfaultfd {
  const c = libc()
  const flags = OPEN.CLOEXEC | OPEN.NONBLOCK
  const tried: string[] = []
  let opened: OpenedUserfaultfd | undefined
  if (!userModeOnly) {
    const device = c.open('/dev/userfaultfd', OPEN.RDWR | OPEN.CLOEXEC, 0)
    if (device >= 0) {
      const fd = c.ioctl(device, UFFDIO.DEV_NEW, flags)
      if (fd >= 0) opened = { fd, how: 'device' }
      else tried.push(`/dev/userfaultfd: ${errnoName(c.errno())}`)
      c.close(device)
    } else tried.push(`/dev/userfaultfd: ${errnoName(c.errno())}`)
    if (!opened) {
      const fd = c.syscall3(SYS[c.arch].userfaultfd, flags, 0, 0)
      if (fd >= 0) opened = { fd, how: 'syscall' }
      else tried.push(`userfaultfd(2): ${errnoName(c.errno())}`)
    }
  }
  if (!opened) {
    const fd = c.syscall3(SYS[c.arch].userfaultfd, flags | UFFD.USER_MODE_ONLY, 0, 0)
    if (fd >= 0) opened = { fd, how: 'user-mode-only' }
    else tried.push(`user-mode only: ${errnoName(c.errno())}`)
  }
  if (!opened) {
    throw new FaultlaneError({
      code: 'NO_USERFAULTFD',
      reason: tried.join(', '),
      remedies: USERFAULTFD_REMEDIES,
    })
  }
  const api = new NativeBuffer(24)
  api.setU64(0, UFFD.API)
  api.setU64(8, features)
  if (c.ioctl(opened.fd, UFFDIO.API, api.address) !== 0) {
    const error = systemError('ioctl(UFFDIO_API)', `userfaultfd with features 0x${features.toString(16)}`)
    c.close(opened.fd)
    throw error
  }
  return opened
}

/** Registers our own memory for missing-page faults. */
export function registerMissing(fd: number, address: number, bytes: number): void {
  const arg = new NativeBuffer(32)
  arg.setU64(0, address)
  arg.setU64(8, bytes)
  arg.setU64(16, UFFD.REGISTER_MODE_MISSING)
  if (libc().ioctl(fd, UFFDIO.REGISTER, arg.address) !== 0) {
    throw systemError('ioctl(UFFDIO_REGISTER)', `${bytes} bytes at 0x${address.toString(16)}`)
  }
}
