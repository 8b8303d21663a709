import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { skipWithout } from '../tools/system.mjs'

const script = fileURLToPath(new URL('../examples/cluster/start.mjs', import.meta.url))

interface Summary {
  readonly requests: number
  readonly failed: number
  readonly failures: Readonly<Record<string, number>>
  readonly hits: number
  readonly shown: readonly number[]
  readonly attempts: readonly number[]
}

t.test('three proxies, Redis and DNS: upstreams scale up and down, one crashes, and no request fails', { skip: skipWithout('redis-server', 'dnsmasq') }, async (t) => {
  // tap adds loaders of its own to the environment of all that tests start: `env -i` keeps them out.
  const child = spawn('env', ['-i', `PATH=${process.env['PATH'] ?? ''}`, process.execPath, script, '--plan', '2,5,1'], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString() })
  t.teardown(() => { child.kill('SIGTERM') })
  const [status] = await once(child, 'close') as [number | null]
  t.equal(status, 0, err)
  const { requests, failed, failures, hits, shown, attempts } = JSON.parse(out) as Summary
  t.ok(requests > 300)
  t.equal(failed, 0, JSON.stringify(failures))
  t.ok(hits > 0, 'what one has fetched others have')
  t.same(shown, [3, 3, 3], 'every dashboard shows who is there')
  t.ok(attempts.every((count) => count > 0), 'all three forward')
})
