import { execFileSync } from 'node:child_process'
import { constants as fsConstants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { arch, constants as osConstants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as abi from '../../src/native/abi.ts'
import { compilerOrSkipLoudly } from '../need.ts'

/** C's name for `abi.GROUP.NAME` is PREFIX + NAME. */
const PREFIXES: Record<string, string> = {
  ERRNO: '',
  OPEN: 'O_',
  SEEK: 'SEEK_',
  FCNTL: 'F_',
  SEAL: 'F_SEAL_',
  MFD: 'MFD_',
  PROT: 'PROT_',
  MAP: 'MAP_',
  MADV: 'MADV_',
  POLL: 'POLL',
  AF: 'AF_',
  SOCK: 'SOCK_',
  SO: 'SO_',
  TCP: 'TCP_',
  MSG: 'MSG_',
  EFD: 'EFD_',
  SCHED: 'SCHED_',
  SCHED_FLAG: 'SCHED_FLAG_',
  UFFD: 'UFFD_',
  UFFDIO: 'UFFDIO_',
}

/** What is not named by that rule. */
const EXPRESSIONS: Record<string, string> = {
  CLOCK_REALTIME: 'CLOCK_REALTIME',
  PR_SET_NAME: 'PR_SET_NAME',
  PR_SET_TIMERSLACK: 'PR_SET_TIMERSLACK',
  MAP_FAILED: '(long long)MAP_FAILED',
  POLLFD_BYTES: 'sizeof(struct pollfd)',
  SOL_SOCKET: 'SOL_SOCKET',
  IPPROTO_IP: 'IPPROTO_IP',
  IP_TOS: 'IP_TOS',
  IPPROTO_TCP: 'IPPROTO_TCP',
  SCM_RIGHTS: 'SCM_RIGHTS',
  'SOCKADDR_UN.BYTES': 'sizeof(struct sockaddr_un)',
  'SOCKADDR_UN.PATH': 'offsetof(struct sockaddr_un, sun_path)',
  'SOCKADDR_UN.PATH_BYTES': 'sizeof(((struct sockaddr_un *)0)->sun_path)',
  UCRED_BYTES: 'sizeof(struct ucred)',
  'MSGHDR.BYTES': 'sizeof(struct msghdr)',
  'MSGHDR.NAME': 'offsetof(struct msghdr, msg_name)',
  'MSGHDR.NAMELEN': 'offsetof(struct msghdr, msg_namelen)',
  'MSGHDR.IOV': 'offsetof(struct msghdr, msg_iov)',
  'MSGHDR.IOVLEN': 'offsetof(struct msghdr, msg_iovlen)',
  'MSGHDR.CONTROL': 'offsetof(struct msghdr, msg_control)',
  'MSGHDR.CONTROLLEN': 'offsetof(struct msghdr, msg_controllen)',
  'MSGHDR.FLAGS': 'offsetof(struct msghdr, msg_flags)',
  CMSGHDR_BYTES: 'CMSG_LEN(0)',
  'UFFD.REGISTER_MODE_MISSING': 'UFFDIO_REGISTER_MODE_MISSING',
  'UFFD.MSG_BYTES': 'sizeof(struct uffd_msg)',
  'UFFDIO.DEV_NEW': 'USERFAULTFD_IOC_NEW',
}

/** Held by a test of their own: one is in no header, one in a header that bears no other beside it. */
const APART = new Set(['SCM_FDS_MAX', 'SCHED_ATTR_BYTES'])

/** Where the struct members lie that our code addresses by number. */
const LAYOUT: Record<string, number> = {
  'offsetof(struct pollfd, events)': 4,
  'offsetof(struct pollfd, revents)': 6,
  'offsetof(struct cmsghdr, cmsg_level)': 8,
  'offsetof(struct cmsghdr, cmsg_type)': 12,
  'CMSG_SPACE(4) - CMSG_LEN(0)': 8,
  'offsetof(struct ucred, pid)': 0,
  'offsetof(struct iovec, iov_len)': 8,
  'sizeof(struct uffdio_api)': 24,
  'offsetof(struct uffdio_api, features)': 8,
  'sizeof(struct uffdio_register)': 32,
  'offsetof(struct uffdio_register, mode)': 16,
  'offsetof(struct uffdio_range, len)': 8,
  'offsetof(struct uffdio_copy, src)': 8,
  'offsetof(struct uffdio_copy, len)': 16,
  'offsetof(struct uffdio_copy, mode)': 24,
  'offsetof(struct uffdio_copy, copy)': 32,
  'offsetof(struct uffdio_zeropage, mode)': 16,
  'offsetof(struct uffdio_zeropage, zeropage)': 24,
  'offsetof(struct uffd_msg, event)': 0,
  'offsetof(struct uffd_msg, arg.pagefault.flags)': 8,
  'offsetof(struct uffd_msg, arg.pagefault.address)': 16,
  'offsetof(struct uffd_msg, arg.pagefault.feat.ptid)': 24,
  'offsetof(struct uffd_msg, arg.remove.start)': 8,
  'offsetof(struct uffd_msg, arg.remove.end)': 16,
}

interface Checked {
  readonly name: string
  readonly value: number
  readonly c: string
}

/** Every number that abi.ts exports, with its C expression; the system call numbers stand apart. */
function constants(): Checked[] {
  const found: Checked[] = []
  const add = (name: string, value: unknown, group: string, member: string): void => {
    if (typeof value !== 'number' || APART.has(name)) return
    const prefix = PREFIXES[group]
    const c = EXPRESSIONS[name] ?? (prefix === undefined ? undefined : prefix + member)
    if (c === undefined) throw new Error(`abi.ts has ${name}, and this test does not know its name in C`)
    found.push({ name, value, c })
  }
  for (const [group, content] of Object.entries(abi)) {
    if (group === 'SYS') continue
    if (typeof content !== 'object') add(group, content, '', group)
    else
      for (const [member, value] of Object.entries(content)) add(`${group}.${member}`, value, group, member)
  }
  return found
}

const HEADERS = [
  ...['errno', 'fcntl', 'poll', 'sched', 'stddef', 'stdio', 'unistd'],
  ...[
    'netinet/in',
    'netinet/ip',
    'netinet/tcp',
    'sys/eventfd',
    'sys/mman',
    'sys/prctl',
    'sys/socket',
    'sys/uio',
    'sys/un',
    'time',
  ],
  ...['linux/ioctl', 'linux/memfd', 'linux/mman', 'linux/userfaultfd'],
]

/** Values of C expressions; null for a macro that these headers are too old to have. */
function evaluate(headers: string[], expressions: string[]): (number | null)[] {
  const folder = mkdtempSync(join(tmpdir(), 'faultlane-abi-'))
  try {
    const isMacro = (c: string) => /^[A-Z][A-Za-z0-9_]*$/.test(c)
    const lines = expressions.map((c) => {
      const print = `printf("%lld\\n", (long long)(${c}));`
      return isMacro(c) ? `#ifdef ${c}\n${print}\n#else\nprintf("missing\\n");\n#endif` : print
    })
    const includes = headers.map((header) => `#include <${header}.h>`).join('\n')
    writeFileSync(
      join(folder, 'a.c'),
      `#define _GNU_SOURCE\n${includes}\nint main(void) {\n${lines.join('\n')}\nreturn 0;\n}\n`,
    )
    execFileSync('cc', ['-o', join(folder, 'a'), join(folder, 'a.c')])
    const output = execFileSync(join(folder, 'a'), { encoding: 'utf8' })
    return output
      .trim()
      .split('\n')
      .map((line) => (line === 'missing' ? null : Number(line)))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function expectEqual(checked: Checked[], values: (number | null)[]): void {
  expect(values).toHaveLength(checked.length)
  const missing = checked.filter((_, i) => values[i] === null).map(({ c }) => c)
  if (missing.length > 0) process.stderr.write(`\n!! NOT COMPARED, headers too old: ${missing.join(', ')}\n`)
  // A few macros may be newer than the headers; were it many, a prefix would be wrong.
  expect(missing.length).toBeLessThan(5)
  const compared = checked.filter((_, i) => values[i] !== null)
  expect(compared.map(({ name, value }) => ({ name, value }))).toEqual(
    checked.map(({ name }, i) => ({ name, value: values[i] })).filter(({ value }) => value !== null),
  )
}

describe.skipIf(!compilerOrSkipLoudly())('ABI constants against the system headers', () => {
  it('agree, every one', () => {
    const checked = constants()
    expect(checked.length).toBeGreaterThan(100)
    expectEqual(
      checked,
      evaluate(
        HEADERS,
        checked.map(({ c }) => c),
      ),
    )
  })

  it('lie where the code reads and writes', () => {
    const checked = Object.entries(LAYOUT).map(([c, value]) => ({ name: c, value, c }))
    expectEqual(checked, evaluate(HEADERS, Object.keys(LAYOUT)))
  })

  it('agree on the first version of struct sched_attr', () => {
    expect(evaluate(['stdio', 'linux/sched/types'], ['SCHED_ATTR_SIZE_VER0'])).toEqual([abi.SCHED_ATTR_BYTES])
  })

  const syscalls = (of: abi.Arch) =>
    Object.entries(abi.SYS[of]).map(([name, value]) => ({ name, value, c: `__NR_${name}` }))
  const names = (checked: Checked[]) => checked.map(({ c }) => `(${c})`)

  it('number the system calls of this machine', () => {
    const checked = syscalls(arch() as abi.Arch)
    expectEqual(checked, evaluate(['stdio', 'sys/syscall'], names(checked)))
  })

  it('number the system calls of arm64, which uses the generic table', () => {
    const checked = syscalls('arm64')
    expectEqual(checked, evaluate(['stdio', 'asm-generic/unistd'], names(checked)))
  })
})

describe('ABI constants without a compiler', () => {
  it('agree with what Node knows', () => {
    const known = Object.entries(abi.ERRNO).filter(([name]) => name in osConstants.errno)
    expect(known.length).toBeGreaterThan(20)
    for (const [name, value] of known) {
      expect([name, value]).toEqual([name, osConstants.errno[name as keyof typeof osConstants.errno]])
    }
    expect(abi.OPEN.RDONLY).toBe(fsConstants.O_RDONLY)
    expect(abi.OPEN.RDWR).toBe(fsConstants.O_RDWR)
    expect(abi.OPEN.NONBLOCK).toBe(fsConstants.O_NONBLOCK)
  })

  it('follow the ioctl formula: direction, size of the struct, type, number', () => {
    const io = (direction: number, number: number, bytes: number) =>
      direction * 2 ** 30 + bytes * 2 ** 16 + 0xaa * 2 ** 8 + number
    const [none, read, readWrite] = [0, 2, 3]
    const { UFFDIO } = abi
    expect(UFFDIO).toEqual({
      ...UFFDIO,
      API: io(readWrite, 0x3f, 24),
      REGISTER: io(readWrite, 0x00, 32),
      UNREGISTER: io(read, 0x01, 16),
      WAKE: io(read, 0x02, 16),
      COPY: io(readWrite, 0x03, 40),
      ZEROPAGE: io(readWrite, 0x04, 32),
      CONTINUE: io(readWrite, 0x07, 32),
      DEV_NEW: io(none, 0x00, 0),
    })
  })

  it('pass no negative number to an unsigned argument', () => {
    for (const { name, value } of constants())
      if (name !== 'MAP_FAILED') expect([name, value >= 0]).toEqual([name, true])
  })

  it('name an errno, known or not', () => {
    expect(abi.errnoName(abi.ERRNO.EAGAIN)).toBe('EAGAIN')
    expect(abi.errnoName(9999)).toBe('E9999')
  })
})
