import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))

t.test('a worker that dies at once is replaced after ever longer waits, up to ten seconds; one that lived for a while, soon', async (t) => {
  const child = fork(fixture('backoff.mjs'), [fixture('brief.mjs')], { execArgv: [], env: { PATH: process.env['PATH'] } })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    if (child.connected) child.send('stop')
    await ended
  })
  const waits: number[] = []
  child.on('message', ({ wait }: { wait: number }) => { waits.push(wait) })
  const heard = async (count: number): Promise<void> => { while (waits.length < count) await once(child, 'message') }
  await heard(9)
  t.same(waits.slice(0, 9), [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
  // From the next death on, or the one after, each seems to have lived for longer than ten seconds.
  child.send({ life: 10_001 })
  const from = waits.length
  await heard(from + 6)
  t.same(waits.slice(from + 3, from + 6), [100, 100, 100])
})
