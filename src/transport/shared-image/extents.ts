/** The hole map of an image as memory that one process hands to another: a memfd, sealed so that no reader alters it. */
import { FaultlaneError } from '../../errors.ts'
import { FCNTL, MFD, SEAL } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { check, libc } from '../../native/libc.ts'

/** The descriptor is the caller's. */
export function sealedExtents(extents: Uint32Array): number {
  const c = libc()
  const about = 'the extents of the image'
  const fd = check(
    c.memfd_create('faultlane-extents', MFD.CLOEXEC | MFD.ALLOW_SEALING),
    'memfd_create',
    about,
  )
  try {
    const copy = new NativeBuffer(Math.max(8, extents.length * 4))
    copy.u32.set(extents)
    for (let at = 0; at < extents.length * 4; ) {
      at += check(c.write(fd, copy.address + at, extents.length * 4 - at), 'write', about)
    }
    check(c.fcntl(fd, FCNTL.ADD_SEALS, SEAL.SEAL | SEAL.SHRINK | SEAL.GROW | SEAL.WRITE), 'fcntl', about)
    return fd
  } catch (error) {
    c.close(fd)
    throw error
  }
}

/** Reads extents that came from `peer` and holds them to the form: ascending, apart, inside `pageCount` 4 KiB pages. */
export function readExtents(fd: number, pairs: number, pageCount: number, peer: string): Uint32Array {
  const buffer = new NativeBuffer(Math.max(8, pairs * 8))
  // Copied by pread, not mapped: a map that is shorter than said is then an answer, not a signal.
  for (let at = 0; at < pairs * 8; ) {
    const got = check(
      libc().pread(fd, buffer.address + at, pairs * 8 - at, at),
      'pread',
      `extents of ${peer}`,
    )
    if (got === 0) throw nonsense(peer, `${at} bytes of extents`, `${pairs * 8} bytes`)
    at += got
  }
  const extents = buffer.u32.slice(0, pairs * 2)
  let end = 0
  for (let i = 0; i < extents.length; i += 2) {
    const first = extents[i] as number
    const pages = extents[i + 1] as number
    if (first < end || pages === 0 || first + pages > pageCount) {
      throw nonsense(peer, `extent ${first}+${pages}`, `ascending extents inside ${pageCount} pages`)
    }
    end = first + pages
  }
  return extents
}

function nonsense(peer: string, got: string, expected: string): FaultlaneError {
  return new FaultlaneError({ code: 'PROTOCOL', peer, got, expected })
}
