/**
 * The NICs that can be emulated. Fitted on the calibration points of the published tables alone; other sizes
 * and conditions are predictions. No published 4 KiB READ table is known for the 100G class and above: what
 * those presets say of it is an estimate.
 */
import { FaultlaneError } from '../../errors.ts'
import { derived, guess, type NicFigures, published, recalled } from './nic-figures.ts'
import { interferencePresets } from './nic-interference.ts'

/** A preset: what is known and how much of it is a full READ calibration. */
export interface NicPreset {
  readonly name: string
  readonly title: string
  /** False: READ latencies beyond the calibration points are estimates and printed as such. */
  readonly isReadCalibrated: boolean
  readonly figures: NicFigures
}

const cx3Qdr40: NicFigures = {
  lineGbps: recalled(32, 'QDR 4x data rate'),
  mtu: published(2048, 'MTU of the table'),
  chunkBytes: derived(2048, 'path MTU on ConnectX-3'),
  readBase: derived(1989, 'READ 2 B 1.99 µs'),
  stagesPerByte: derived(0.7136, '(2048 B 3.45 µs - t0) / 2048'),
  wirePerByte: derived(0.2607, '(64 KiB 20.00 µs - 2048 B 3.45 µs) / 63488'),
  pcieReadPerByte: derived(0.2265, 'half of S - B'),
  pcieReadFirstPerByte: derived(0.2265, 'as later'),
  writeBase: guess(994.5, 'half of READ t0, as hdr200'),
  fetchStep: derived(662.8, 'non-inline WRITE 256 B 1.84 µs - 256 S - inlined base'),
  sendExtra: guess(40, 'a receive completion is written after the data'),
  atomicBase: published(2340, 'fetch-and-add 2.34 µs'),
  readGapMin: derived(161.08, '8 B READ 6.208 Mpps'),
  readGapBase: derived(105.8, '1 KiB READ 2.850 and 2 KiB 1.678 Mpps'),
  readGapPerByte: derived(0.23933, '1 KiB READ 2.850 and 2 KiB 1.678 Mpps'),
  readCapPerByte: derived(0, 'the wire is slower'),
  writeGapMin: guess(161.08, 'as READ'),
  writeCapPerByte: guess(0, 'the wire is slower'),
  atomicGap: derived(408.66, 'fetch-and-add 2.447 Mops'),
  burstBytes: guess(14400, 'as cx3pro-ib56'),
  engine: guess(28, '35 M messages per second'),
  contention: guess(28, 'one message in the shared engine'),
  switchHop: guess(270, 'as edr100'),
  tail99: derived(139.3, 'p99 / p50 1.07 at 2 B'),
  tail999: derived(7960, 'p99.9 9.95 µs at 2 B: host noise'),
}

const mlx4Qdr40: NicFigures = {
  ...cx3Qdr40,
  mtu: published(4096, 'MTU of the table'),
  chunkBytes: derived(4096, 'path MTU'),
  readBase: derived(1738.3, 'READ 2 B 1.74 µs - 2 S'),
  stagesPerByte: derived(0.84026, '(4096 B 5.18 µs - 2 B 1.74 µs) / 4094'),
  wirePerByte: derived(0.29655, '(64 KiB 23.40 µs - 4096 B 5.18 µs) / 61440'),
  pcieReadPerByte: derived(0.27186, 'half of S - B'),
  pcieReadFirstPerByte: derived(0.27186, 'as later'),
  writeBase: guess(869, 'half of READ t0, as hdr200'),
  fetchStep: guess(663, 'as cx3-qdr40'),
  atomicBase: guess(2089, 'READ + 0.35 µs, as cx3-qdr40'),
  readGapMin: published(192.3, 'about 5.2 Mpps small'),
  readGapBase: guess(126.3, 'in proportion to cx3-qdr40'),
  readGapPerByte: guess(0.30223, 'in proportion to cx3-qdr40'),
  readCapPerByte: derived(0.32922, 'READ cap 24.3 Gb/s'),
  writeGapMin: guess(192.3, 'as READ'),
  writeCapPerByte: derived(0.31873, 'WRITE cap 25.1 Gb/s'),
  tail99: guess(0, 'no tail published'),
  tail999: guess(0, 'no tail published'),
}

const edr100: NicFigures = {
  lineGbps: recalled(100, 'EDR 4x data rate'),
  mtu: published(4096, 'MTU of the table'),
  chunkBytes: guess(4096, 'independent of the MTU'),
  readBase: derived(1899.6, 'READ 2 B 1.90 µs'),
  stagesPerByte: derived(0.21688, 'SEND 1 KiB 1.61 and 32 KiB 4.57 µs, m = 4096, B = line'),
  wirePerByte: recalled(0.08, 'line rate'),
  pcieReadPerByte: guess(0.068, 'PCIe 3.0 x16'),
  pcieReadFirstPerByte: guess(0.068, 'as later'),
  writeBase: derived(785.2, 'SEND 32 B 0.83 µs - 32 B inlined - 40 ns of completion'),
  fetchStep: derived(562.7, 'SEND 1 KiB 1.61 µs - 1024 S - 40 ns - inlined base'),
  sendExtra: guess(40, 'a receive completion is written after the data'),
  atomicBase: guess(2250, 'READ + 0.35 µs, as cx3-qdr40'),
  readGapMin: published(185.2, '5.4 Mpps'),
  readGapBase: guess(0, 'not published'),
  readGapPerByte: guess(0, 'not published'),
  readCapPerByte: derived(0.08282, 'cap 96.6 Gb/s'),
  writeGapMin: published(185.2, '5.4 Mpps'),
  writeCapPerByte: derived(0.08282, 'cap 96.6 Gb/s'),
  atomicGap: guess(408.66, 'as cx3-qdr40'),
  burstBytes: guess(122880, 'as cx4-ib100'),
  engine: guess(10, '100 M messages per second'),
  contention: guess(10, 'one message in the shared engine'),
  switchHop: published(270, 'one switch hop 0.27 µs one way'),
  tail99: guess(0, 'no tail published'),
  tail999: guess(0, 'no tail published'),
}

const hdr200: NicFigures = {
  ...edr100,
  lineGbps: recalled(200, 'HDR 4x data rate'),
  mtu: guess(4096, 'usual'),
  readBase: derived(3739.5, 'READ about 2 × WRITE 1.87 µs'),
  stagesPerByte: derived(0.255, 'S of the published curve'),
  wirePerByte: derived(0.0409, 'cap 195.6 Gb/s'),
  pcieReadPerByte: derived(0.0409, 'B above 64 KiB'),
  pcieReadFirstPerByte: derived(0.047, 'B up to 64 KiB'),
  writeBase: derived(1869.6, 'WRITE 2 B 1.87 µs'),
  fetchStep: guess(562.7, 'as edr100'),
  atomicBase: guess(4090, 'READ + 0.35 µs, as cx3-qdr40'),
  readGapMin: derived(204.9, '4.88 Mpps'),
  readCapPerByte: derived(0.0409, 'cap 195.6 Gb/s'),
  writeGapMin: derived(204.9, '4.88 Mpps'),
  writeCapPerByte: derived(0.0409, 'cap 195.6 Gb/s'),
  engine: guess(7, '140 M messages per second'),
  contention: guess(7, 'one message in the shared engine'),
  switchHop: guess(270, 'as edr100'),
}

const ndr400: NicFigures = {
  ...hdr200,
  lineGbps: recalled(400, 'NDR 4x data rate'),
  readBase: derived(2399.7, 'READ about 2.4 µs'),
  stagesPerByte: guess(0.15, 'not published'),
  wirePerByte: derived(0.0204, 'WRITE cap 392.3 Gb/s'),
  pcieReadPerByte: derived(0.0204, 'not slower than the wire'),
  pcieReadFirstPerByte: derived(0.0205, 'B of the published curve'),
  writeBase: derived(1229.7, 'SEND 2 B 1.27 µs - 40 ns of completion'),
  atomicBase: guess(2750, 'READ + 0.35 µs, as cx3-qdr40'),
  readGapMin: guess(204.9, 'as hdr200'),
  readCapPerByte: derived(0.02435, 'READ cap 328.6 Gb/s'),
  writeGapMin: guess(204.9, 'as hdr200'),
  writeCapPerByte: derived(0.02039, 'WRITE cap 392.3 Gb/s'),
  engine: guess(5, '200 M messages per second'),
  contention: guess(5, 'one message in the shared engine'),
}

const rxe: NicFigures = {
  ...edr100,
  lineGbps: guess(64, 'memory copies, no NIC'),
  mtu: guess(4096, 'largest of IB'),
  readBase: guess(3679, '2 × WRITE, as hdr200'),
  stagesPerByte: derived(0.18075, '(WRITE 4 KiB 2.58 - 2 B 1.84 µs) / 4094'),
  wirePerByte: guess(0.125, 'memory copies'),
  pcieReadPerByte: guess(0, 'no PCIe'),
  pcieReadFirstPerByte: guess(0, 'no PCIe'),
  writeBase: derived(1839.6, 'WRITE 2 B 1.84 µs'),
  fetchStep: guess(0, 'no PCIe'),
  atomicBase: guess(3679, 'as READ'),
  readGapMin: guess(1000, 'one softirq turn'),
  readCapPerByte: guess(0.125, 'memory copies'),
  writeGapMin: guess(1000, 'one softirq turn'),
  writeCapPerByte: guess(0.125, 'memory copies'),
  atomicGap: guess(1000, 'one softirq turn'),
  burstBytes: guess(65536, 'what rxe keeps in the network queue'),
  switchHop: guess(0, 'loopback'),
}

export const DEFAULT_NIC = 'cx3-qdr40'

export const nicPresets: readonly NicPreset[] = [
  { name: 'cx3-qdr40', title: 'ConnectX-3, InfiniBand QDR', isReadCalibrated: true, figures: cx3Qdr40 },
  { name: 'mlx4-qdr40', title: 'mlx4, InfiniBand QDR', isReadCalibrated: true, figures: mlx4Qdr40 },
  { name: 'edr100', title: '100G class, InfiniBand EDR', isReadCalibrated: false, figures: edr100 },
  { name: 'hdr200', title: 'ConnectX-6, InfiniBand HDR', isReadCalibrated: false, figures: hdr200 },
  { name: 'ndr400', title: 'ConnectX-7, InfiniBand NDR', isReadCalibrated: false, figures: ndr400 },
  { name: 'rxe', title: 'soft-RoCE over loopback', isReadCalibrated: false, figures: rxe },
  ...interferencePresets(cx3Qdr40, edr100),
]

export function nicPreset(name: string): NicPreset {
  const preset = nicPresets.find((candidate) => candidate.name === name)
  if (preset !== undefined) return preset
  const expected = `one of ${nicPresets.map((candidate) => candidate.name).join(', ')}`
  throw new FaultlaneError({ code: 'BAD_ARGUMENT', what: 'NIC preset', got: name, expected })
}
