/**
 * What a destination tells its source over the demand lane's connection, when it has said hello: which socket's file it
 * leaves behind should it be killed, or that there is none any more. The last notice holds. See wire.ts.
 */
import { NativeBuffer } from '../../native/buffer.ts'
import { UNIX_PATH_BYTES_MAX } from '../../native/unix-socket.ts'
import type { SocketFile } from '../transport.ts'
import { NOTICE, NOTICE_BYTES, NOTICE_MAGIC } from './wire.ts'

/** The file's notice, or that there is none: also for a path that a source could not ask whether anybody listens. */
export function encodeNotice(file: SocketFile | undefined): NativeBuffer {
  const notice = new NativeBuffer(NOTICE_BYTES)
  notice.u32[NOTICE.MAGIC] = NOTICE_MAGIC
  const path = Buffer.from(file?.path ?? '')
  if (!file || path.length > UNIX_PATH_BYTES_MAX) return notice
  notice.u32[NOTICE.PATH_BYTES] = path.length
  const words = new BigUint64Array(file.identity.split(' ').map(BigInt))
  notice.u8.set(new Uint8Array(words.buffer), NOTICE.IDENTITY * 4)
  notice.u8.set(path, NOTICE.PATH * 4)
  return notice
}

/** The file, undefined for none; a string says what is wrong with the notice. */
export function decodeNotice({ u32, u8 }: NativeBuffer): SocketFile | undefined | string {
  if (u32[NOTICE.MAGIC] !== NOTICE_MAGIC) return 'it sent more than its hello, and no notice'
  const bytes = u32[NOTICE.PATH_BYTES] as number
  if (bytes === 0) return undefined
  if (bytes > UNIX_PATH_BYTES_MAX)
    return `its notice has a path of ${bytes} bytes, and ${UNIX_PATH_BYTES_MAX} are the most`
  const path = Buffer.from(u8.slice(NOTICE.PATH * 4, NOTICE.PATH * 4 + bytes))
  if (path[0] !== 0x2f || path.includes(0))
    return `its notice has the path ${JSON.stringify(path.toString())}, which is not absolute`
  const words = new BigUint64Array(u8.slice(NOTICE.IDENTITY * 4, NOTICE.PATH * 4).buffer)
  return { path: path.toString(), identity: words.join(' ') }
}
