// Becomes an ordinary user and says which userfaultfd it gets then.
import { openUserfaultfd } from '../../dist/fault/userfaultfd-open.js'
import { libc } from '../../dist/native/libc.js'

libc()
process.setgroups([])
process.setgid(65534)
process.setuid(65534)
try {
  process.stdout.write(openUserfaultfd().how)
} catch (error) {
  process.stdout.write(error.message)
}
