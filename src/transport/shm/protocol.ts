import type { ShareProtocol } from '../shared-image/wire.ts'

/** The magics read "FLS1" and "FLSW". */
export const SHM: ShareProtocol = {
  scheme: 'shm',
  helloMagic: 0x31534c46,
  welcomeMagic: 0x57534c46,
  extraFds: 0,
}
