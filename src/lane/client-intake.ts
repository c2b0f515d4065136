/**
 * How a client comes in: one connection at a time, accepted and greeted stepwise. Owned by the demand agent, as are
 * the listener and the connection until a finished handshake hands it over.
 */
import type { Clock } from '../clock.ts'
import { type Handshake, HandshakeReceiver } from '../fault/handshake.ts'
import type { SocketFile } from '../transport/transport.ts'

/** Where clients come from: a UnixListener, or what stands for one while the agent is warmed up. */
export interface ClientListener {
  readonly fd: number
  /** What a sudden end of this process leaves behind; undefined: nothing, or nothing any more. */
  readonly file: SocketFile | undefined
  tryAccept(): number
  close(): void
}

export class ClientIntake {
  readonly listener: ClientListener
  readonly #imageBytes: number
  readonly #clock: Clock
  /** Ready for the next client before it comes. */
  #spare: HandshakeReceiver
  #receiver: HandshakeReceiver | undefined

  constructor(listener: ClientListener, imageBytes: number, clock: Clock) {
    this.listener = listener
    this.#imageBytes = imageBytes
    this.#clock = clock
    this.#spare = new HandshakeReceiver(imageBytes, clock)
  }

  get isGreeting(): boolean {
    return this.#receiver !== undefined
  }

  /** Becomes readable when a client comes, or says more. */
  get fd(): number {
    return this.#receiver?.socket ?? this.listener.fd
  }

  /** False: nobody has come. */
  tryAccept(): boolean {
    const socket = this.listener.tryAccept()
    if (socket < 0) return false
    this.#receiver = this.#spare
    this.#receiver.begin(socket)
    return true
  }

  /** While isGreeting: takes what the client has said. Throws HANDSHAKE; see renew(). */
  step(): 'waiting' | Handshake {
    const handshake = (this.#receiver as HandshakeReceiver).step()
    if (handshake !== 'waiting') this.#receiver = undefined
    return handshake
  }

  /** Hangs up on who is half in, and makes ready for the next one. */
  renew(): void {
    this.hangUp()
    this.#spare = new HandshakeReceiver(this.#imageBytes, this.#clock)
  }

  hangUp(): void {
    this.#receiver?.close()
    this.#receiver = undefined
  }
}
