import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { seeded } from '@headgate/core'
import t from 'tap'
import { memoryOf, script, serve } from '../processes.ts'
import { MB, connectionsAt, open, turn } from './sockets.ts'

t.test('2,000 clients that leave at random points leave nothing behind', async (t) => {
  const { port: upstream } = await script(t, 'upstream.mjs')
  const { url, child } = await serve(t, '--upstream', `http://127.0.0.1:${upstream}`)
  const port = Number(new URL(url).port)
  const random = seeded(7)
  const requests = [
    'GET /bytes?size=3000000 HTTP/1.1\r\nHost: h\r\n\r\n',
    'GET /late?ms=50 HTTP/1.1\r\nHost: h\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n' + 'x'.repeat(50_000),
    'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
    'GET / HTTP/1.1\r\nHos'
  ]
  const leave = async (): Promise<void> => {
    const socket = await open(port)
    const text = requests[Math.floor(random() * requests.length)]!
    const cut = random() < 0.3 ? Math.floor(random() * text.length) : text.length
    socket.write(text.slice(0, cut))
    const when = random()
    let bytes = 0
    const limit = random() * 500_000
    if (when < 0.4) socket.on('data', (data: Buffer) => { if ((bytes += data.length) > limit) socket.destroy() })
    setTimeout(() => { if (random() < 0.5) socket.resetAndDestroy(); else socket.destroy() }, Math.floor(random() * 40))
    await once(socket, 'close')
  }
  const batch = async (count: number): Promise<void> => {
    let left = count
    await Promise.all(Array.from({ length: 50 }, async () => { while (left-- > 0) await leave() }))
  }
  await batch(1000)
  const before = memoryOf(child.pid!)
  await batch(1000)
  t.equal((await fetch(`${url}/`)).status, 200, 'it still answers')
  while (connectionsAt(upstream) > 2 * 30 || connectionsAt(port) > 4) await turn()
  t.ok(memoryOf(child.pid!) - before < 60 * MB, `memory: ${Math.round((memoryOf(child.pid!) - before) / MB)} MB more after the second thousand`)
})

t.test('10,000 idle kept connections', { skip: Number(execFileSync('sh', ['-c', 'ulimit -n']).toString()) < 12_000 && 'needs 12,000 file descriptors (ulimit -n)' }, async (t) => {
  const { port: upstream } = await script(t, 'upstream.mjs')
  const { url, child } = await serve(t, '--upstream', `http://127.0.0.1:${upstream}`, '--client-headers-timeout', '600000')
  const port = Number(new URL(url).port)
  await (await fetch(url)).text()
  const before = memoryOf(child.pid!)
  const sockets: Socket[] = []
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  let left = 10_000
  await Promise.all(Array.from({ length: 100 }, async () => {
    while (left-- > 0) {
      const socket = await open(port)
      socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
      await once(socket, 'data')
      sockets.push(socket)
    }
  }))
  t.equal(sockets.length, 10_000)
  const each = (memoryOf(child.pid!) - before) / 10_000
  t.ok(each < 40_000, `${Math.round(each)} bytes each`)
  t.equal((await fetch(url)).status, 200)
})
