import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { NativeTransport, parseTarget, systemClock } from '../../src/index.ts'
import { send } from './recorder.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

t.test('ten thousand idle connections cost little more than their sockets', async (t) => {
  const COUNT = 10_000
  // In a process of its own: both ends together would need twice the file descriptors.
  const server = fork(new URL('../fixtures/quiet-server.mjs', import.meta.url), { execArgv: [] })
  t.teardown(() => { server.kill() })
  const [port] = await once(server, 'message') as [number]
  const transport = new NativeTransport(parseTarget(`http://127.0.0.1:${port}`, 'url'), { maxIdle: COUNT, keepAliveTimeout: 600_000, connectTimeout: 60_000 }, systemClock)
  t.teardown(() => { transport.destroy() })
  collect()
  const before = process.memoryUsage()
  // The server answers when all have come, so that none is used twice.
  const first = send(transport, { path: `/${COUNT}` })
  const rest: ReturnType<typeof send>[] = []
  // In steps that the listening socket's queue can take.
  for (let i = 1; i < COUNT; i++) {
    rest.push(send(transport, { path: '/' }))
    if (i % 200 === 0) while (transport.stats.connecting > 0) await new Promise(setImmediate)
  }
  const all = [await first.ended, ...await Promise.all(rest.map(({ ended }) => ended))]
  const limit = all.find(({ error }) => /EMFILE|ENFILE/.test(String(error?.message)))
  if (limit !== undefined) return void t.pass('the system allows too few open files: not measured')
  t.ok(all.every(({ status }) => status === 200))
  t.equal(transport.stats.idle, COUNT)
  all.length = rest.length = 0
  collect()
  // A second time: buffers of the first are swept in the background.
  await new Promise(setImmediate)
  collect()
  const after = process.memoryUsage()
  t.ok(after.arrayBuffers - before.arrayBuffers < COUNT * 4096 + 4_194_304 + 16 * 262_144 + 2_000_000, `${((after.arrayBuffers - before.arrayBuffers) / COUNT).toFixed(0)} bytes of buffers each`)
  // One of them may now be given a large answer, with a buffer of the usual size again.
  const large = await send(transport, { path: '/large' }).ended
  t.equal(large.size, 1_000_000)
})
