/**
 * Presets fitted on interference: a 16 B WRITE beside 1 MB WRITE streams (Justitia, NSDI '22). Each has one
 * calibration point, which fixes the burst Q; a burst is whole packets, and what is left of the point after
 * them is the cost of the shared engine. READs were not measured: everything about them is an estimate.
 */
import { derived, guess, type NicFigures, published, recalled } from './nic-figures.ts'
import type { NicPreset } from './nic-presets.ts'

export function interferencePresets(cx3: NicFigures, edr: NicFigures): NicPreset[] {
  const cx3pro: NicFigures = {
    ...cx3,
    lineGbps: recalled(54.54, 'FDR 4x data rate'),
    readBase: guess(2590, '2 × WRITE, as hdr200'),
    stagesPerByte: guess(0.5, 'cx3-qdr40 at FDR'),
    wirePerByte: derived(0.16667, 'bulk 48 Gb/s'),
    pcieReadPerByte: guess(0.1666, 'half of S - B'),
    pcieReadFirstPerByte: guess(0.1666, 'as later'),
    writeBase: derived(1295, '16 B WRITE alone 1.3 µs'),
    atomicBase: guess(2940, 'READ + 0.35 µs, as cx3-qdr40'),
    writeCapPerByte: guess(0, 'the wire is slower'),
    readGapPerByte: guess(0.153, 'in proportion to cx3-qdr40'),
    readCapPerByte: guess(0, 'the wire is slower'),
    burstBytes: derived(7 * 2048, 'beside 2 bulk streams 6.1 µs: Q about 14.4 KB'),
    contention: derived(192, 'rest of 6.1 - 1.3 µs after two bursts less half a packet'),
    tail99: derived(100, 'alone median 1.3, p99 1.4 µs'),
    tail999: guess(100, 'as p99'),
  }
  const cx4roce: NicFigures = {
    ...edr,
    lineGbps: recalled(40, '40 Gb/s Ethernet'),
    mtu: guess(1024, 'Ethernet MTU 1500'),
    readBase: guess(3390, '2 × WRITE, as hdr200'),
    stagesPerByte: guess(0.4, 'edr100 at 40 Gb/s'),
    wirePerByte: derived(0.2623, 'bulk 30.5 Gb/s'),
    writeBase: derived(1694.7, '16 B WRITE alone 1.7 µs'),
    atomicBase: guess(3740, 'READ + 0.35 µs, as cx3-qdr40'),
    readCapPerByte: guess(0, 'the wire is slower'),
    writeCapPerByte: guess(0, 'the wire is slower'),
    burstBytes: derived(18 * 1024, 'beside 1 bulk stream in the same queue 6.5 µs: Q about 18 KB'),
    contention: derived(100, 'rest of 6.5 - 1.7 µs after one burst less half a packet'),
    switchHop: guess(270, 'as edr100'),
  }
  const cx4ib: NicFigures = {
    ...edr,
    readBase: guess(2990, '2 × WRITE, as hdr200'),
    wirePerByte: derived(0.09249, 'bulk 86.5 Gb/s'),
    stagesPerByte: guess(0.2285, 'edr100 with this wire'),
    writeBase: derived(1497.5, '16 B WRITE alone 1.5 µs'),
    atomicBase: guess(3340, 'READ + 0.35 µs, as cx3-qdr40'),
    readCapPerByte: guess(0, 'the wire is slower'),
    writeCapPerByte: guess(0, 'the wire is slower'),
    burstBytes: derived(30 * 4096, 'beside 1 bulk stream 12.9 µs: Q about 123 KB'),
    contention: derived(224, 'rest of 12.9 - 1.5 µs after one burst less half a packet'),
    tail99: published(100, 'alone median 1.5, p99 1.6 µs'),
    tail999: guess(100, 'as p99'),
    switchHop: guess(270, 'as edr100'),
  }
  const isReadCalibrated = false
  return [
    { name: 'cx3pro-ib56', title: 'ConnectX-3 Pro, InfiniBand FDR', isReadCalibrated, figures: cx3pro },
    { name: 'cx4-roce40', title: 'ConnectX-4, RoCE 40G', isReadCalibrated, figures: cx4roce },
    { name: 'cx4-ib100', title: 'ConnectX-4, InfiniBand EDR', isReadCalibrated, figures: cx4ib },
  ]
}
