/** `rdma-sim:PATH?nic=NAME&dilation=FACTOR`: where the source listens, and which NIC is emulated how slowly. */
import { FaultlaneError } from '../../errors.ts'
import type { ShareProtocol } from '../shared-image/wire.ts'
import { nicPreset } from './nic-presets.ts'

/** The magics read "FLR1" and "FLRW". */
export const RDMA_SIM: ShareProtocol = {
  scheme: 'rdma-sim',
  helloMagic: 0x31524c46,
  welcomeMagic: 0x57524c46,
  extraFds: 1,
}

/** A modelled microsecond takes so many real ones at most; a guess. */
const DILATION_MAX = 1000

export interface RdmaSimAddress {
  /** What is dialled, without settings. */
  readonly url: string
  /** null: the source's choice. */
  readonly nic: string | null
  /** Real time is so many times the modelled time. */
  readonly dilation: number
}

export function parseAddress(text: string): RdmaSimAddress {
  const at = text.indexOf('?')
  const url = at < 0 ? text : text.slice(0, at)
  let nic: string | null = null
  let dilation = 1
  for (const [name, value] of new URLSearchParams(at < 0 ? '' : text.slice(at + 1))) {
    if (name === 'nic') nic = nicPreset(value).name
    else if (name === 'dilation') dilation = toDilation(value)
    else refuse(`setting of ${url}`, name, 'nic or dilation')
  }
  return { url, nic, dilation }
}

function toDilation(value: string): number {
  const dilation = /^\d+(\.\d+)?$/.test(value) ? Number(value) : 0
  if (dilation < 1 || dilation > DILATION_MAX) refuse('dilation', value, `a number from 1 to ${DILATION_MAX}`)
  return dilation
}

function refuse(what: string, got: string, expected: string): never {
  throw new FaultlaneError({ code: 'BAD_ARGUMENT', what, got, expected })
}
