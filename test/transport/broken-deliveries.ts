/** Transports that deliver what they should not, or not what they should. */
import { COMPLETION } from '../../src/transport/transport.ts'
import { type Broken, copyOf, deliver, deliverKind } from './tampered.ts'

const { CONTENT, ZERO, ERROR } = COMPLETION

/** Memory of changed pages: a typed array that nobody holds would be collected under the sink. */
export const held: unknown[] = []

export const BROKEN_DELIVERIES: readonly Broken[] = [
  [
    'one bit wrong in the last byte of a page',
    'every page alone',
    /bytes are not the image's/,
    {
      tamper: deliverKind(CONTENT, (part, channel) => {
        const copy = copyOf(part, channel)
        copy.u8[copy.bytes - 1] = (copy.u8[copy.bytes - 1] as number) ^ 1
        held[0] = copy
        return [[part[0], part[1], part[2], CONTENT, copy.address]]
      }),
    },
  ],
  [
    'the bytes of the page before',
    'readPagesMax',
    /bytes are not the image's/,
    {
      tamper: deliverKind(CONTENT, ([id, first, count, kind, address], { info }) => {
        return [[id, first, count, kind, first === 0 ? address : address - info.pageSize]]
      }),
    },
  ],
  [
    'content invented as zeros',
    'every page alone',
    /must end as 0/,
    { tamper: deliverKind(CONTENT, ([id, first, count]) => [[id, first, count, ZERO, 0]]) },
  ],
  [
    'zero pages sent as content',
    'holes and pages of zeros',
    /must end as 1/,
    {
      tamper: deliverKind(ZERO, (part, channel) => {
        const zeros = copyOf(part, channel)
        held[0] = zeros
        return [[part[0], part[1], part[2], CONTENT, zeros.address]]
      }),
    },
  ],
  [
    'zeros for pages that cannot be read',
    'cannot be read',
    /must end as 2/,
    { tamper: deliverKind(ERROR, ([id, first, count]) => [[id, first, count, ZERO, 0]]) },
  ],
  [
    'one bad page fails its neighbours',
    'cannot be read',
    /must end as 0/,
    {
      tamper: deliver((part) => {
        const [id, first, count] = part
        return first < 150 && first + count >= 149 ? [[id, first, count, ERROR, 0]] : [part]
      }),
    },
  ],
  [
    'work ids cut to 16 bits',
    'work ids come back',
    /not in flight/,
    { tamper: deliver(([id, ...rest]) => [[id & 0xffff, ...rest]]) },
  ],
  [
    'a completion that is lost',
    'readPagesMax',
    /never answered|credits is/,
    { tamper: deliver((part) => (part[3] === ZERO ? [] : [part])) },
  ],
  [
    'a channel that delivers nothing',
    'every page alone',
    /never answered/,
    { tamper: () => ({ poll: () => 0 }) },
  ],
  [
    'a completion that comes twice',
    'every page alone',
    /not in flight/,
    { tamper: deliver((part) => [part, part]) },
  ],
  [
    'a part that comes twice',
    'readPagesMax',
    /had ended already/,
    {
      tamper: deliver(([id, first, count, kind, address]) => [
        [id, first, 1, kind, address],
        [id, first, count, kind, address],
      ]),
    },
  ],
  [
    'the last page of a read is forgotten',
    'readPagesMax',
    /never answered|credits is/,
    {
      tamper: deliverKind(ZERO, (part) => {
        const [id, first, count, kind, address] = part
        return count > 1 ? [[id, first, count - 1, kind, address]] : [part]
      }),
    },
  ],
  [
    'pages outside the read',
    'every page alone',
    /outside the read/,
    { tamper: deliver(([id, first, count, kind, address]) => [[id, first, count + 1, kind, address]]) },
  ],
]
