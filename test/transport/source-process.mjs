// Serves an image in a process of its own, so that a test can kill it: node source-process.mjs ROOM URL FILE CUT_BYTES [LINK].
// ROOM is a folder of dist/transport. The file is cut to CUT_BYTES once it is open: what is beyond cannot be read.
import { truncateSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [room, url, file, cutBytes, link] = process.argv.slice(2)
const dist = new URL('../../dist/', pathToFileURL(import.meta.filename))
const { source } = await import(new URL(`transport/${room}/index.js`, dist).href)
const { Image } = await import(new URL('memory/image.js', dist).href)

const image = Image.open(file)
truncateSync(file, Number(cutBytes))
let isStopped = false
process.on('SIGTERM', () => {
  isStopped = true
})
const agent = source.listen(url, image.description, { wakeFd: -1, ...(link && { link }) })
process.stdout.write(`ready ${agent.url}\n`)
function turns() {
  let busyTurns = 0
  while (busyTurns < 32 && agent.doWork() > 0) busyTurns++
  if (busyTurns < 32) agent.park(10) // Short: a signal is seen between two parks.
  if (!isStopped) return setImmediate(turns)
  agent.close()
  image.close()
}
turns()
