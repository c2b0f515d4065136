// Becomes an ordinary user whom the kernel refuses userfaultfd(2) altogether, and says what it is told then.
import { openUserfaultfd } from '../../dist/fault/userfaultfd-open.js'
import { SYS } from '../../dist/native/abi.js'
import { NativeBuffer } from '../../dist/native/buffer.js'
import { libc } from '../../dist/native/libc.js'

// seccomp(2) filter: load the call's number; userfaultfd is answered with EPERM, everything else is allowed.
const SECCOMP = { x64: 317, arm64: 277 }
const SET_MODE_FILTER = 1
const code = [
  [0x20, 0, 0, 0], // ld [nr]
  [0x15, 0, 1, SYS[libc().arch].userfaultfd], // jeq
  [0x06, 0, 0, 0x0005_0001], // ret ERRNO(EPERM)
  [0x06, 0, 0, 0x7fff_0000], // ret ALLOW
]
const filter = new NativeBuffer(code.length * 8)
code.forEach(([op, yes, no, k], i) => {
  filter.u32[i * 2] = op | (yes << 16) | (no << 24)
  filter.u32[i * 2 + 1] = k
})
const program = new NativeBuffer(16)
program.u32[0] = code.length
program.setU64(8, filter.address)
if (libc().syscall3(SECCOMP[libc().arch], SET_MODE_FILTER, 0, program.address) !== 0)
  throw new Error('seccomp')
process.setgroups([])
process.setgid(65534)
process.setuid(65534)
try {
  process.stdout.write(openUserfaultfd().how)
} catch (error) {
  process.stdout.write(`${error.code}: ${error.message}`)
}
